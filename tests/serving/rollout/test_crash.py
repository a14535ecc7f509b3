"""The controller is killed at every point of a release; it resumes, and each step happens exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from serving.models.registry import CHAMPION, alias_version
from serving.rollout.log import CRASH_VARIABLE, RolloutLog
from serving.rollout.plan import ReleasePlan
from serving.rollout.read import read_state, wait_for
from serving.rollout.submit import submit, waiting
from serving.routing.envoy import EnvoyRouter
from serving.runtime.laptop import CONTROLLER, GATEWAY, start_serving, stop_all
from serving.runtime.program import clearway_environment, python
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings
from tests.serving.gateway.load import Load
from tests.serving.models import toy

pytestmark = [pytest.mark.integration, pytest.mark.faults]
STEPS = ("submitted", "starting", "ready", "smoked", "switched", "aliased", "completed")
EFFECTS = {"starting": ("effect:arm", "effect:weights"), "switched": ("effect:weights",), "aliased": ("effect:alias",)}
POINTS = [p for step in STEPS for p in (f"before:{step}", f"after:{step}", *EFFECTS.get(step, ()))]


@pytest.fixture
def laptop(tmp_path: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Supervisor]]:
    settings = toy.home(tmp_path_factory.mktemp("home"))
    supervisor = start_serving(settings)
    try:
        wait_for(toy.MODEL, submit(ReleasePlan(model=toy.MODEL, version="1"), settings), 120, settings)
        supervisor.remove_program(CONTROLLER)
        supervisor.remove_program(GATEWAY)
        yield settings, supervisor
    finally:
        stop_all(settings)


def start_controller(settings: Settings, crash_at: str | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **clearway_environment(settings)}
    if crash_at is not None:
        environment[CRASH_VARIABLE] = crash_at
    return subprocess.Popen(python("serving.rollout.controller"), env=environment)


def spawned(settings: Settings, program: str) -> int:
    return (settings.runtime / "logs" / "supervisord.log").read_text().count(f"spawned: '{program}'")


def test_killed_at_every_point_it_resumes_with_one_effect_of_each_step(laptop: tuple[Settings, Supervisor]) -> None:
    settings, _ = laptop
    url = f"http://127.0.0.1:{settings.envoy_port}/models/{toy.MODEL}/predict"
    with Load(url, {"requests": [toy.REQUEST]}, threads=1) as load:
        ident = submit(ReleasePlan(model=toy.MODEL, version="2"), settings)
        for point in POINTS:
            process = start_controller(settings, point)
            assert process.wait(90) == -signal.SIGKILL, point
        last = start_controller(settings)
        try:
            rollout = wait_for(toy.MODEL, ident, 60, settings)
            deadline = time.monotonic() + 20
            while waiting(settings) and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(1)  # ticks that must change nothing more
        finally:
            last.kill()
            last.wait()

    assert [entry["type"] for entry in rollout.entries] == list(STEPS)
    assert [e["seq"] for e in RolloutLog(toy.MODEL, settings).entries()] == list(range(1, 2 * len(STEPS) + 1))
    assert spawned(settings, "arm-wilting-v2") == 1
    assert spawned(settings, "arm-wilting-v1") == 1
    state = read_state(toy.MODEL, settings)
    assert EnvoyRouter(settings).weights() == {toy.MODEL: {"wilting-v1": 0, "wilting-v2": 100}}
    assert (state.stable, state.previous) == ("wilting-v2", "wilting-v1")
    assert alias_version(toy.MODEL, CHAMPION, settings) == "2"
    assert waiting(settings) == []
    # Traffic was never without an owner.
    assert set(load.statuses) == {"200"}
    assert set(load.versions) == {"1", "2"}
    assert httpx.post(url, json={"requests": [toy.REQUEST]}).json()["version"] == "2"
