"""Makes arms, weights and alias what the log says. Each call may be the first after a kill; it changes what differs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from serving.models import registry
from serving.rollout.log import RolloutLog, crash_point
from serving.rollout.state import Arm, ModelState
from serving.routing.router import Router
from serving.runtime.program import free_port, port_in_use
from serving.settings import Settings

log = logging.getLogger(__name__)
# Unchanged states are looked at again this often, in case something else changed what they say.
RECHECK_SECONDS = 2.0


class Arms(Protocol):
    """Starts and stops arms; see :class:`serving.runtime.arms.LocalArms`."""

    def ensure(self, arm: str, model: str, version: str, port: int) -> None: ...
    def running(self) -> set[str]: ...
    def alive(self, arm: str) -> bool: ...
    def remove(self, arm: str) -> None: ...


class Reconciler:
    """Brings the world to the logged states of all models."""

    def __init__(self, settings: Settings, router: Router, arms: Arms) -> None:
        self._settings, self._router, self._arms = settings, router, arms
        self._done: tuple[str, float] | None = None
        self._aliases: dict[str, str] = {}
        # The registry's client takes seconds to import and its server may be slow: ticks do not wait for it. One
        # thread, so that two wishes for one alias are met in the order in which they were made.
        self._background = ThreadPoolExecutor(1, "registry")
        self._tasks: dict[tuple[str, str], tuple[float, Future[None] | None]] = {}
        self._ports_checked: set[str] = set()

    def traffic(self, states: Iterable[ModelState]) -> None:
        """Arms run, and weights are, as logged; arms that no log names are stopped."""
        states = list(states)
        content = repr([(s.model, s.arms, s.weights, _split(s), s.mirror, s.sticky) for s in states])
        if self._done is not None and self._done[0] == content and time.monotonic() - self._done[1] < RECHECK_SECONDS:
            return
        wanted = {arm.name: (state, arm) for state in states for arm in state.arms.values()}
        for state, arm in wanted.values():
            self._start(state, arm, {other.port for _, other in wanted.values()})
        host = self._settings.host
        addresses = {name: f"{host}:{state.arms[name].port}" for name, (state, _) in wanted.items()}
        # First nothing that still has a weight goes, then weights move, then what is left over goes.
        self._router.set_arms({**self._router.arms(), **addresses})
        for state in states:
            self._router.set_weights(state.model, state.weights, _split(state), state.mirror, state.sticky)
        for model in set(self._router.weights()) - {state.model for state in states}:
            self._router.set_weights(model, {})
        crash_point("effect:weights")
        self._router.set_arms(addresses)
        for name in self._arms.running() - set(wanted):
            log.info("stopping arm %s, which no release keeps", name)
            self._arms.remove(name)
        self._done = (content, time.monotonic())

    def _start(self, state: ModelState, arm: Arm, taken: set[int]) -> None:
        if arm.name not in self._ports_checked and not self._arms.alive(arm.name):
            # After a restart of the machine another process may listen where the arm used to.
            if port_in_use(arm.port, self._settings.host):
                port = free_port(self._settings.host, taken)
                RolloutLog(state.model, self._settings).append("arm_moved", "", arm=arm.name, port=port)
                arm = Arm(arm.name, arm.version, port)
                state.arms[arm.name] = arm
            self._ports_checked.add(arm.name)
        self._arms.ensure(arm.name, state.model, arm.version, arm.port)
        crash_point("effect:arm")

    def alias(self, state: ModelState) -> bool:
        """Whether the registry's champion is the logged one; works towards it in the background.

        Raises:
            RegistryError: the last attempt failed; the next call after two seconds starts another.
        """
        version = state.champion
        if version is None or self._aliases.get(state.model) == version:
            return True
        started, task = self._tasks.get((state.model, version), (float("-inf"), None))
        if task is None:
            if time.monotonic() - started > RECHECK_SECONDS:
                task = self._background.submit(self._point, state.model, version)
                self._tasks[state.model, version] = (time.monotonic(), task)
            return False
        if task.done():
            self._tasks[state.model, version] = (time.monotonic(), None)
            task.result()
            self._aliases = {**self._aliases, state.model: version}
            return True
        return False

    def _point(self, model: str, version: str) -> None:
        if registry.alias_version(model, registry.CHAMPION, self._settings) != version:
            registry.set_alias(model, registry.CHAMPION, version, self._settings)
            log.info("champion of %s is version %s", model, version)
        crash_point("effect:alias")

    def fetch(self, model: str, version: str) -> bool:
        """Whether the version lies in the local cache; fetches it in the background. Raises RegistryError."""
        key = (model, f"fetch {version}")
        _, task = self._tasks.get(key, (0.0, None))
        if task is None:
            self._tasks[key] = (0.0, self._background.submit(self._fetch, model, version))
            return False
        if not task.done():
            return False
        del self._tasks[key]
        task.result()
        return True

    def _fetch(self, model: str, version: str) -> None:
        registry.resolve(model, version, self._settings)


def _split(state: ModelState) -> str | None:
    """The name of the split that traffic follows while gates compare two versions."""
    rollout = state.running
    return f"{rollout.id}:{rollout.percent}" if rollout is not None and rollout.percent is not None else None
