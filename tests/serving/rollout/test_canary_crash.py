"""Kills in the middle of a canary: controller at every transition, Envoy, either arm, everything. It goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from serving.models.registry import CHAMPION, alias_version
from serving.rollout.log import CRASH_VARIABLE, LogUnwritable, RolloutLog
from serving.rollout.read import read_state
from serving.routing.envoy import EnvoyRouter
from serving.runtime import processes
from serving.runtime.laptop import CONTROLLER
from serving.runtime.program import clearway_environment, python
from serving.settings import Settings
from tests.serving.models import toy
from tests.serving.rollout.canary import PLAN, Laptop, Users

pytestmark = [pytest.mark.integration, pytest.mark.faults]
POINTS = [
    "before:stepped", "after:stepped", "effect:weights", "before:baselined", "after:baselined", "before:stepped",
    "after:stepped", "before:switched", "after:switched", "effect:weights", "before:aliased", "after:aliased",
    "effect:alias", "before:completed", "after:completed",
]  # fmt: skip
V1, V2 = f"{toy.MODEL}-v1", f"{toy.MODEL}-v2"


@pytest.fixture
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    found = Laptop(toy.home(tmp_path_factory.mktemp("home"), versions=2))
    try:
        yield found
    finally:
        found.stop()


def controller(settings: Settings, crash_at: str | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **clearway_environment(settings)}
    if crash_at is not None:
        environment[CRASH_VARIABLE] = crash_at
    return subprocess.Popen(python("tests.serving.rollout.faulty", "controller"), env=environment)


def say_latency(laptop: Laptop, ident: str) -> None:
    """Have both versions' servers measure, until a controller that reads it all has its baseline at once."""
    for version in ("1", "2"):
        laptop.faults(version, measures="ttft_ms=5")
    deadline = time.monotonic() + 60
    while sum(o.rollout == ident and o.arm == V1 and "ttft_ms" in o.measures for o in laptop.observed()) < 100:
        assert time.monotonic() < deadline, "stable's servers do not say what they measure"
        time.sleep(0.2)


def test_killed_at_every_transition_no_step_is_skipped_or_repeated(laptop: Laptop) -> None:
    laptop.supervisor.remove_program(CONTROLLER)
    # The latency is what the servers say themselves, so that the baseline comes when the test has it come.
    gates = {**PLAN["gates"], "latency": [{"measure": "ttft_ms", "promote_margin": 0.3}]}
    first = {"weight": 10, "min_seconds": 8, "min_requests": 5}
    with Users(laptop, 60) as users:
        ident = laptop.submit("2", steps=[first, {"weight": 50, "min_seconds": 1}, 100], gates=gates)
        for point in POINTS:
            if point == "before:baselined":
                say_latency(laptop, ident)
            process = controller(laptop.settings, point)
            try:
                assert process.wait(90) == -signal.SIGKILL, point
            finally:
                process.kill()
        last = controller(laptop.settings)
        try:
            rollout = laptop.done(ident)
            time.sleep(1)
        finally:
            last.kill()
            last.wait()
    assert [entry["type"] for entry in rollout.entries] == [
        "submitted", "starting", "ready", "smoked", "stepped", "baselined", "stepped", "switched", "aliased",
        "completed",
    ]  # fmt: skip
    assert [e["step"] for e in rollout.entries if "step" in e] == [0, 1, 2]
    entries = RolloutLog(toy.MODEL, laptop.settings).entries()
    assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
    elapsed = [e["elapsed_s"] for e in rollout.entries if "elapsed_s" in e]
    assert elapsed == sorted(elapsed)
    assert EnvoyRouter(laptop.settings).weights() == {toy.MODEL: {V1: 0, V2: 100}}
    assert alias_version(toy.MODEL, CHAMPION, laptop.settings) == "2"
    # Traffic was never without an owner.
    assert set(users.statuses) == {"200"}
    assert set(users.versions) == {"1", "2"}


@pytest.mark.parametrize("victim", ["envoy", "gateway", "arm-" + V1, "arm-" + V2, "everything"])
def test_whatever_is_killed_the_rollout_ends_and_users_are_answered(laptop: Laptop, victim: str) -> None:
    """A killed arm is a real fault of it: the new version's may cost it the promotion, stable's must not."""
    steps = [{"weight": 10, "min_seconds": 4, "min_requests": 5}, {"weight": 50, "min_seconds": 1}, 100]
    with Users(laptop, 60) as users:
        ident = laptop.submit("2", steps=steps)
        laptop.until(ident, "stepped", step=0)
        time.sleep(1)
        if victim == "everything":
            for process in processes.marked(laptop.settings.runtime):
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            # All programs as they were. start_serving would put another controller in the place of the tests', which
            # would start every arm anew under its own command.
            laptop.supervisor.ensure_running()
        else:
            pid = laptop.supervisor.status()[victim].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        rollout = laptop.done(ident, 240)
        # On few cores the servers' own starts may take all of them for a while: the next answers, whenever they come.
        mark, deadline = len(users.answers), time.monotonic() + 60
        while len(users.answers) < mark + 80:
            assert time.monotonic() < deadline, "users are left without answers"
            time.sleep(0.1)
        assert {status for _, _, status in users.answers[mark + 20 :]} == {"200"}
    assert set(users.statuses) <= {"200", "503", "ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}
    # Of everything: the errors that both share move no gate, but answers of a server that has just begun are slow, and
    # it is the new version that leaves when they are its own.
    if victim in ("arm-" + V2, "everything"):
        assert rollout.phase in ("completed", "rolled_back")
    else:
        assert (rollout.phase, rollout.reason) == ("completed", None)
    steps_seen = [e["step"] for e in rollout.entries if "step" in e]
    assert steps_seen == sorted(set(steps_seen)), "no step twice"
    stable = "2" if rollout.phase == "completed" else "1"
    state = read_state(toy.MODEL, laptop.settings)
    assert state.stable == f"{toy.MODEL}-v{stable}"
    assert alias_version(toy.MODEL, CHAMPION, laptop.settings) == stable


def test_a_log_that_cannot_be_written_stops_the_rollout_and_not_the_answers(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RolloutLog(toy.MODEL, laptop.settings)
    before = log.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(LogUnwritable, match="No space left on device"):
            log.append("stepped", "r", step=0, weights={}, elapsed_s=0.0)
    assert log.path.read_bytes() == before, "nothing takes effect that is not in the log"
    # The same as the controller meets it: its log cannot grow for a while.
    with Users(laptop, 60) as users:
        ident = laptop.submit("2")
        laptop.until(ident, "stepped", step=0)
        pid = laptop.supervisor.status()[CONTROLLER].pid
        assert pid is not None
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        size = log.path.stat().st_size
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        time.sleep(3)
        assert log.path.stat().st_size == size
        assert laptop.rollout(ident).step == 0
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert laptop.done(ident).phase == "completed"
    assert set(users.statuses) == {"200"}
    assert "cannot be written" in (laptop.settings.runtime / "logs" / f"{CONTROLLER}.log").read_text()
