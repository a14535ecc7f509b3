"""A rolling release with real servers: one by one, one more than before at the most, nobody left without an answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from serving.rollout.log import RolloutLog
from serving.rollout.read import read_state, wait_for
from serving.rollout.submit import submit
from serving.runtime.arms import PREFIX
from serving.runtime.laptop import CONTROLLER
from tests.serving.models import toy
from tests.serving.rollout.canary import Laptop, Users
from tests.serving.rollout.test_canary_crash import controller

pytestmark = [pytest.mark.integration, pytest.mark.faults]
V1, V2 = f"{toy.MODEL}-v1", f"{toy.MODEL}-v2"
STEPS = [{"weight": 50, "min_seconds": 1, "min_requests": 5}, 100]


@pytest.fixture
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Version 1 answers from two servers."""
    found = Laptop(toy.home(tmp_path_factory.mktemp("home"), versions=2))
    try:
        grown = {"strategy": "blue_green", "replicas": 2, "steps": [100]}
        assert found.done(found.submit("1", **grown)).phase == "completed"
        assert set(servers(found)) == {V1, f"{V1}.1"}
        yield found
    finally:
        found.stop()


def servers(laptop: Laptop) -> dict[str, int]:
    """Servers whose process runs, with its pid."""
    found = laptop.supervisor.status().items()
    return {n.removeprefix(PREFIX): s.pid for n, s in found if n.startswith(PREFIX) and s.pid is not None}


class Watch:
    """The most servers that ran at once."""

    def __init__(self, laptop: Laptop) -> None:
        self.most, self._laptop, self._stop = 0, laptop, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.is_set():
            self.most = max(self.most, len(servers(self._laptop)))
            time.sleep(0.05)

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.most


def until_run(laptop: Laptop, names: set[str], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while set(servers(laptop)) != names:
        assert time.monotonic() < deadline, servers(laptop)
        time.sleep(0.1)


def test_servers_are_replaced_one_by_one_and_a_dead_one_costs_what_it_had_begun(laptop: Laptop) -> None:
    with Users(laptop) as users:
        os.kill(servers(laptop)[f"{V1}.1"], signal.SIGKILL)
        until_run(laptop, {V1, f"{V1}.1"})
        time.sleep(5)
    assert users.statuses["200"] > 100
    assert sum(n for status, n in users.statuses.items() if status != "200") <= 2
    watch = Watch(laptop)
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("2", strategy="rolling", replicas=2, steps=STEPS))
        until_run(laptop, {V2, f"{V2}.1"})
        time.sleep(1)
    assert (rollout.phase, rollout.reason) == ("completed", None)
    assert [e["type"] for e in rollout.entries if e["type"] != "baselined"] == [
        "submitted", "starting", "ready", "smoked", "stepped", "grown", "switched", "aliased", "completed",
    ]  # fmt: skip
    assert watch.end() == 3
    assert set(users.statuses) == {"200"}
    state = read_state(toy.MODEL, laptop.settings)
    assert (state.stable, len(state.arms[V2].ports), state.weights) == (V2, 2, {V2: 100})
    events = laptop.settings.events
    assert all(list((events / name).glob("*.*")) for name in (V2, f"{V2}.1")), "each server has its own segments"


def test_a_rolling_release_that_fails_gives_stable_its_servers_back(laptop: Laptop) -> None:
    with Users(laptop) as users:
        ident = laptop.submit("2", strategy="rolling", replicas=2, steps=STEPS, min_requests=100_000)
        laptop.until(ident, "stepped")
        until_run(laptop, {V1, V2})
        laptop.faults("2", fail=1.0)
        rollout = laptop.done(ident)
        until_run(laptop, {V1, f"{V1}.1"})
        time.sleep(3)
    assert rollout.phase == "rolled_back"
    assert "gate errors" in str(rollout.reason)
    assert set(users.statuses) == {"200"}
    assert len(read_state(toy.MODEL, laptop.settings).arms[V1].ports) == 2


def test_killed_while_a_server_joins_none_is_started_twice_and_none_forgotten(laptop: Laptop) -> None:
    laptop.supervisor.remove_program(CONTROLLER)
    with Users(laptop) as users:
        ident = laptop.submit("2", strategy="rolling", replicas=2, steps=STEPS)
        for point in ("after:stepped", "before:grown", "after:grown", "after:switched"):
            process = controller(laptop.settings, point)
            try:
                assert process.wait(90) == -signal.SIGKILL, point
            finally:
                process.kill()
        last = controller(laptop.settings)
        try:
            assert laptop.done(ident).phase == "completed"
            until_run(laptop, {V2, f"{V2}.1"})
        finally:
            last.kill()
            last.wait()
    kinds = [entry["type"] for entry in RolloutLog(toy.MODEL, laptop.settings).entries() if entry["rollout"] == ident]
    assert (kinds.count("grown"), kinds.count("switched")) == (1, 1)
    assert set(users.statuses) == {"200"}


def test_a_first_release_starts_all_its_servers_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    from serving.rollout.plan import ReleasePlan
    from serving.runtime.laptop import start_serving, stop_all

    settings = toy.home(tmp_path_factory.mktemp("home"), versions=1)
    try:
        start_serving(settings)
        plan = ReleasePlan.model_validate(
            {"model": toy.MODEL, "version": "1", "strategy": "rolling", "replicas": 2, "smoke": {"p95_ms": 2000}}
        )
        rollout = wait_for(toy.MODEL, submit(plan, settings), 120, settings)
        assert (rollout.phase, rollout.reason) == ("completed", None)
        assert len(read_state(toy.MODEL, settings).arms[V1].ports) == 2
    finally:
        stop_all(settings)
