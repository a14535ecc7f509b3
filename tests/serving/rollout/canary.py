"""A laptop on which canaries are tried: real Envoy, gateway, servers and controller; servers may be told to fail."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import httpx

from serving.gateway.keys import create_key
from serving.rollout.observations import Observation, ObservationTail
from serving.rollout.plan import ReleasePlan, parse_plan
from serving.rollout.read import read_rollout, wait_for
from serving.rollout.state import Rollout
from serving.rollout.submit import submit
from serving.runtime.laptop import CONTROLLER, start_serving, stop_all
from serving.runtime.program import Program, clearway_environment, python
from serving.settings import Settings
from tests.serving.models import toy

# Short steps and a wide promotion margin: what is tried here is the machinery, the statistics have their own tests.
PLAN: dict[str, Any] = {
    "model": toy.MODEL,
    "strategy": "canary",
    "steps": [
        {"weight": 10, "min_seconds": 1, "min_requests": 5},
        {"weight": 50, "min_seconds": 1, "min_requests": 5},
        100,
    ],
    "gates": {
        "errors": {"promote_margin": 0.1},
        "latency": [{"quantile": 0.9, "slower": 1.0, "promote_margin": 0.3}],
        "scalars": [{"measure": "refused", "promote_margin": 0.1}],
    },
    "smoke": {"p95_ms": 2000},
}


class Laptop:
    """Given a stable version 1 behind the gateway."""

    def __init__(self, settings: Settings, controlled: bool = True) -> None:
        self.settings = settings
        self.key = create_key("load", ["predict", "read", "operate"], settings)
        self.reader = create_key("reader", ["read"], settings)
        self.headers = {"authorization": f"Bearer {self.key}"}
        self.url = f"{settings.gateway_url}/v1/predictions/{toy.MODEL}"
        self.supervisor = start_serving(settings)
        self.supervisor.remove_program(CONTROLLER)
        self.controller = Program(
            CONTROLLER,
            python("tests.serving.rollout.faulty", "controller"),
            clearway_environment(settings),
            priority=200,
        )
        self.supervisor.add_program(self.controller)
        stable = ReleasePlan(model=toy.MODEL, version="1", smoke={"p95_ms": 2000})  # type: ignore[arg-type]
        assert wait_for(toy.MODEL, submit(stable, settings), 120, settings).phase == "completed"
        if not controlled:
            self.supervisor.remove_program(CONTROLLER)

    def stop(self) -> None:
        stop_all(self.settings)

    def faults(self, version: str, **faults: Any) -> None:
        """Tell the server of a version how to fail from now on."""
        folder = self.settings.home / "faults"
        folder.mkdir(exist_ok=True)
        aside = folder / f".{version}"
        aside.write_text(json.dumps(faults))
        aside.replace(folder / f"{toy.MODEL}-v{version}.json")

    def submit(self, version: str, **changes: Any) -> str:
        plan = parse_plan({**PLAN, "version": version, "requested_by": "the test", **changes}, "the test's plan")
        return submit(plan, self.settings)

    def observed(self) -> list[Observation]:
        """What the gateway has recorded of all requests."""
        return [o for o in ObservationTail(self.settings).read() if isinstance(o, Observation)]

    def rollout(self, ident: str) -> Rollout:
        return read_rollout(toy.MODEL, ident, self.settings)

    def until(self, ident: str, phase: str, seconds: float = 60, step: int | None = None) -> Rollout:
        deadline = time.monotonic() + seconds
        while True:
            found = self.rollout(ident)
            if found.phase == phase and (step is None or found.step == step):
                return found
            assert not found.done, (found.phase, found.reason)
            assert time.monotonic() < deadline, f"not {phase} in {seconds} s: {found.phase} {found.stopped}"
            time.sleep(0.05)

    def held(self, ident: str, seconds: float = 60) -> Rollout:
        """The rollout once it is held or paused."""
        deadline = time.monotonic() + seconds
        while (found := self.rollout(ident)).stopped is None:
            assert not found.done, (found.phase, found.reason)
            assert time.monotonic() < deadline, f"not held in {seconds} s: {found.phase}"
            time.sleep(0.05)
        return found

    def done(self, ident: str, seconds: float = 120) -> Rollout:
        return wait_for(toy.MODEL, ident, seconds, self.settings)


class Users:
    """``with Users(laptop, per_second) as users``: steady requests, each sent at its time whatever became of others.

    Of ``people`` there are as many as said, each asking at random.
    """

    def __init__(self, laptop: Laptop, per_second: float = 40.0, people: int = 0) -> None:
        self._laptop, self._wait, self._people = laptop, 1 / per_second, people
        self.seen_by: dict[str, set[str]] = {}
        self.statuses: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.answers: list[tuple[float, str, str]] = []  # when answered, version or arm's, status
        self._done = threading.Event()
        self._client = httpx.Client(timeout=40, limits=httpx.Limits(max_connections=64))
        self._pool = ThreadPoolExecutor(16)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._done.is_set():
            self._pool.submit(self._ask)
            due += self._wait
            time.sleep(max(0.0, due - time.monotonic()))

    def _ask(self) -> None:
        version = "-"
        user = f"user-{random.randrange(self._people)}" if self._people else None
        headers = {**self._laptop.headers, **({"x-clearway-user": user} if user else {})}
        try:
            response = self._client.post(self._laptop.url, json=toy.REQUEST, headers=headers)
            status = str(response.status_code)
            if response.status_code == 200:
                version = response.json().get("version", "-")
                self.versions[version] += 1
                if user:
                    self.seen_by.setdefault(user, set()).add(version)
        except httpx.HTTPError as error:
            status = type(error).__name__
        self.statuses[status] += 1
        self.answers.append((time.time(), version, status))

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._pool.shutdown()
        self._client.close()
