"""The log keeps what was appended, forgets what was torn, and is unchanged by a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.rollout.log import RolloutLog, read_entries
from serving.settings import PROJECT, Settings

pytestmark = pytest.mark.faults


def test_entries_are_numbered_and_a_torn_tail_never_was(tmp_path: Path) -> None:
    log = RolloutLog("m", Settings(home=tmp_path))
    assert log.entries() == []
    log.append("ready", "r-1")
    with open(log.path, "ab") as file:
        file.write(b'{"seq": 2, "type": "smo')
    assert [entry["type"] for entry in log.entries()] == ["ready"]
    log.append("smoked", "r-1", evidence={"passed": True})
    assert [(entry["seq"], entry["type"]) for entry in log.entries()] == [(1, "ready"), (2, "smoked")]
    assert log.path.read_bytes().endswith(b"}\n")


def test_a_broken_line_stops_everything_instead_of_being_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'nonsense\n{"seq": 2}\n')
    with pytest.raises(ClearwayError, match="line 1 is no entry"):
        read_entries(path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from serving.rollout.log import LogUnwritable, RolloutLog
from serving.settings import Settings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = RolloutLog("m", Settings(home=Path(sys.argv[1])))
log.append("ready", "r-1")
resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 20, resource.RLIM_INFINITY))
try:
    log.append("smoked", "r-1", evidence={})
except LogUnwritable as error:
    print(error.what)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append("switched", "r-1")
"""


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "cannot be written" in done.stdout
    kinds = [entry["type"] for entry in RolloutLog("m", Settings(home=tmp_path)).entries()]
    assert kinds == ["ready", "switched"]
