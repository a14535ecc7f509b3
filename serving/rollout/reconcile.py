"""Makes arms, weights and alias what the log says. Each call may be the first after a kill; it changes what differs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
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
        self._ports_checked: set[str] = set()

    def traffic(self, states: Iterable[ModelState]) -> None:
        """Arms run, and weights are, as logged; arms that no log names are stopped."""
        states = list(states)
        content = repr([(s.model, s.arms, s.weights) for s in states])
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
            self._router.set_weights(state.model, state.weights)
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

    def alias(self, state: ModelState) -> None:
        """The registry's champion is the logged one. Raises RegistryError when the registry cannot be reached."""
        version = state.champion
        if version is None or self._aliases.get(state.model) == version:
            return
        if registry.alias_version(state.model, registry.CHAMPION, self._settings) != version:
            registry.set_alias(state.model, registry.CHAMPION, version, self._settings)
            log.info("champion of %s is version %s", state.model, version)
        crash_point("effect:alias")
        self._aliases[state.model] = version
