"""A real supervisord: started once, programs come and go while it runs, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from serving.runtime import processes
from serving.runtime.program import Program
from serving.runtime.supervisor import RuntimeFault, Supervisor
from serving.settings import Settings

pytestmark = pytest.mark.integration
# A program with a child of its own that ignores the polite signal.
CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
STUBBORN = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{CHILD}'])"


def sleeper(name: str, **environment: str) -> Program:
    return Program(name, (sys.executable, "-c", STUBBORN), environment, stop_seconds=1)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(Settings(home=tmp_path))
    yield found
    found.stop()


def until(check: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(supervisor: Supervisor, name: str) -> bool:
    return supervisor.status()[name].state == "RUNNING"


def test_the_second_start_attaches_and_stop_leaves_nothing(supervisor: Supervisor) -> None:
    supervisor.ensure_running()
    supervisor.add_program(sleeper("one"))
    pid = supervisor.pid()
    until(lambda: runs(supervisor, "one"))
    child = supervisor.status()["one"].pid
    supervisor.ensure_running()
    supervisor.add_program(sleeper("one"))
    assert (supervisor.pid(), supervisor.status()["one"].pid) == (pid, child)

    until(lambda: len(processes.marked(supervisor.folder)) == 3)
    everybody = [process.pid for process in processes.marked(supervisor.folder)]
    supervisor.stop()
    until(lambda: not [pid for pid in everybody if psutil.pid_exists(pid)])  # whoever inherits the dead reaps them
    assert supervisor.pid() is None
    supervisor.stop()  # again: nothing to do
    with pytest.raises(RuntimeFault, match="does not answer"):
        supervisor.status()


def test_programs_are_added_changed_and_removed_while_others_run(supervisor: Supervisor) -> None:
    supervisor.ensure_running()
    supervisor.add_program(sleeper("stays"))
    supervisor.add_program(sleeper("goes", VALUE="1"))
    until(lambda: runs(supervisor, "stays") and runs(supervisor, "goes"))
    stays, goes = supervisor.status()["stays"].pid, supervisor.status()["goes"].pid
    supervisor.add_program(sleeper("goes", VALUE="2"))
    until(lambda: runs(supervisor, "goes"))
    changed = supervisor.status()["goes"].pid
    assert changed is not None
    assert changed != goes
    assert psutil.Process(changed).environ()["VALUE"] == "2"
    supervisor.remove_program("goes")
    supervisor.remove_program("goes")
    assert list(supervisor.status()) == ["stays"]
    assert supervisor.status()["stays"].pid == stays


def test_what_is_killed_is_started_again(supervisor: Supervisor) -> None:
    supervisor.ensure_running()
    supervisor.add_program(sleeper("one"))
    until(lambda: runs(supervisor, "one"))
    pid = supervisor.status()["one"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: runs(supervisor, "one") and supervisor.status()["one"].pid != pid)


def test_a_killed_supervisord_is_replaced_and_its_orphans_ended(supervisor: Supervisor) -> None:
    supervisor.ensure_running()
    supervisor.add_program(sleeper("one"))
    until(lambda: runs(supervisor, "one"))
    daemon, orphan = supervisor.pid(), supervisor.status()["one"].pid
    assert daemon is not None
    assert orphan is not None
    os.kill(daemon, signal.SIGKILL)
    until(lambda: supervisor.pid() is None)
    assert psutil.pid_exists(orphan)
    supervisor.ensure_running()
    assert not psutil.pid_exists(orphan)
    until(lambda: runs(supervisor, "one"))  # programs of the earlier life are there again


def test_a_home_with_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    supervisor = Supervisor(Settings(home=tmp_path / ("long" * 20) / ("er" * 30)))
    supervisor.ensure_running()
    where = supervisor.socket
    assert supervisor.pid() is not None
    assert not where.is_relative_to(tmp_path)
    assert where.parent.stat().st_mode & 0o077 == 0
    supervisor.stop()
    assert not where.parent.exists()


def test_a_supervisord_that_cannot_start_says_why(supervisor: Supervisor) -> None:
    supervisor.folder.mkdir(parents=True)
    (supervisor.folder / "conf.d").mkdir()
    (supervisor.folder / "conf.d" / "bad.conf").write_text("[program:bad]\nautostart=perhaps\ncommand=true\n")
    with pytest.raises(RuntimeFault, match="perhaps"):
        supervisor.ensure_running()
