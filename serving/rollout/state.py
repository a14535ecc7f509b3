"""What is true of a model's releases: a fold over its log. Pure; the same log always gives the same state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal[
    "queued", "submitted", "starting", "ready", "smoked", "switched", "aliased", "completed", "rolled_back"
]  # fmt: skip
FINAL = ("completed", "rolled_back")


@dataclass(frozen=True)
class Arm:
    """A running version: its name, registry version, and the port it listens on."""

    name: str
    version: str
    port: int


@dataclass
class Rollout:
    """One release as far as the log tells."""

    id: str
    model: str
    version: str
    phase: Phase
    plan: dict[str, Any]
    arm: str | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)
    smoke: dict[str, Any] | None = None
    reason: str | None = None
    record: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        return self.phase in FINAL


@dataclass
class ModelState:
    """A model's arms, weights and champion as the log has them, and its releases in order.

    ``stable`` is the arm of the last completed release, ``previous`` the one it replaced (when it is kept running).
    """

    model: str
    stable: str | None = None
    previous: str | None = None
    champion: str | None = None
    arms: dict[str, Arm] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    current: str | None = None

    @property
    def running(self) -> Rollout | None:
        """The release that is under way."""
        return self.rollouts[self.current] if self.current is not None else None


def fold(model: str, entries: Iterable[Mapping[str, Any]]) -> ModelState:
    """The state after all entries.

    Raises:
        ValueError: an entry has an unknown type.
    """
    state = ModelState(model)
    for entry in entries:
        _apply(state, dict(entry))
    return state


def _apply(state: ModelState, entry: dict[str, Any]) -> None:
    kind, ident = entry["type"], entry["rollout"]
    if kind == "submitted":
        plan = entry["plan"]
        state.rollouts[ident] = Rollout(ident, state.model, plan["version"], "submitted", plan)
        state.current = ident
    elif kind == "arm_moved":
        arm = state.arms[entry["arm"]]
        state.arms[arm.name] = Arm(arm.name, arm.version, entry["port"])
        return
    rollout = state.rollouts[ident]
    rollout.entries.append(entry)
    rollout.phase = kind
    if kind == "starting":
        rollout.arm = entry["arm"]
        state.arms.setdefault(entry["arm"], Arm(entry["arm"], rollout.version, entry["port"]))
        state.weights.setdefault(entry["arm"], 0)
    elif kind == "smoked":
        rollout.smoke = entry["evidence"]
    elif kind == "switched":
        state.weights = dict(entry["weights"])
    elif kind == "aliased":
        state.champion = rollout.version
    elif kind == "completed":
        _complete(state, rollout, entry)
    elif kind == "rolled_back":
        rollout.reason, rollout.record = entry["reason"], entry["record"]
        _keep(state, {state.stable, state.previous})
        state.current = None
    elif kind not in ("submitted", "ready"):
        raise ValueError(f"unknown type of entry {kind!r} in the log of {state.model}")


def _complete(state: ModelState, rollout: Rollout, entry: dict[str, Any]) -> None:
    rollout.record = entry["record"]
    if rollout.arm != state.stable:
        state.previous = state.stable if rollout.plan["keep_previous"] else None
        state.stable = rollout.arm
    _keep(state, {state.stable, state.previous})
    state.current = None


def _keep(state: ModelState, names: set[str | None]) -> None:
    state.arms = {name: arm for name, arm in state.arms.items() if name in names}
    state.weights = {name: weight for name, weight in state.weights.items() if name in names}
