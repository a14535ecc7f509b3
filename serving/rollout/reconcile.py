"""Makes arms, weights and alias what the log says. Each call may be the first after a kill; it changes what differs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from serving.models import registry
from serving.rollout.log import RolloutLog, crash_point
from serving.rollout.state import ModelState
from serving.routing.router import Router
from serving.runtime.arms import server_name
from serving.runtime.program import free_port, port_in_use
from serving.settings import Settings

log = logging.getLogger(__name__)
# Unchanged states are looked at again this often, in case something else changed what they say.
RECHECK_SECONDS = 2.0


class Arms(Protocol):
    """Starts and stops the servers of arms; see :class:`serving.runtime.arms.LocalArms`."""

    def ensure(self, arm: str, model: str, version: str, port: int, replica: int = 0) -> None: ...
    def running(self) -> set[str]: ...
    def alive(self, server: str) -> bool: ...
    def remove(self, server: str) -> bool: ...


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
        self._leaving: set[str] = set()

    def traffic(self, states: Iterable[ModelState]) -> None:
        """Arms run, and weights are, as logged; arms that no log names are stopped."""
        states = list(states)
        content = repr([(s.model, s.servers, s.weights, _split(s), s.mirror, s.sticky) for s in states])
        if self._done is not None and self._done[0] == content and time.monotonic() - self._done[1] < RECHECK_SECONDS:
            return
        taken = {port for state in states for ports in state.servers.values() for port in ports}
        for state in states:
            for arm, ports in state.servers.items():
                for replica in range(len(ports)):
                    self._start(state, arm, replica, taken)
        wanted = {
            server_name(arm, replica)
            for state in states
            for arm, ports in state.servers.items()
            for replica in range(len(ports))
        }
        host = self._settings.host
        addresses = {
            name: ",".join(f"{host}:{port}" for port in arm.ports) for s in states for name, arm in s.arms.items()
        }
        # First nothing that still has a weight goes, then weights move, then what is left over goes.
        self._router.set_arms({**self._router.arms(), **addresses})
        for state in states:
            self._router.set_weights(state.model, state.weights, _split(state), state.mirror, state.sticky)
        for model in set(self._router.weights()) - {state.model for state in states}:
            self._router.set_weights(model, {})
        crash_point("effect:weights")
        self._router.set_arms(addresses)
        left = self._arms.running() - wanted
        if left and not self._router.applied():
            return  # the router may still send requests to what is to be stopped
        self._leaving &= left
        for name in left:
            if name not in self._leaving:
                log.info("stopping server %s, which no release keeps", name)
            self._leaving.add(name)
            if self._arms.remove(name):
                self._leaving.discard(name)
        if not self._leaving:
            self._done = (content, time.monotonic())

    def _start(self, state: ModelState, arm: str, replica: int, taken: set[int]) -> None:
        port, name = state.servers[arm][replica], server_name(arm, replica)
        if name not in self._ports_checked and not self._arms.alive(name):
            # After a restart of the machine another process may listen where the arm used to.
            ports = state.arms[arm].ports
            if replica < len(ports) and port_in_use(port, self._settings.host):
                free = free_port(self._settings.host, taken)
                RolloutLog(state.model, self._settings).append("arm_moved", "", arm=arm, port=free, was=port)
                moved = tuple(free if each == port else each for each in ports)
                state.arms[arm] = replace(state.arms[arm], ports=moved)
                port = free
            self._ports_checked.add(name)
        self._arms.ensure(arm, state.model, state.arms[arm].version, port, replica)
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
