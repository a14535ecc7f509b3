"""What is true of a model's releases: a fold over its log. Pure; the same log always gives the same state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Phase = Literal[
    "queued", "submitted", "starting", "ready", "smoked", "stepped", "shadowing",
    "switched", "aliased", "completed", "rolled_back",
]  # fmt: skip
FINAL = ("completed", "rolled_back")
# Entries that are said of a rollout without moving it to another phase.
REMARKS = ("baselined", "grown", "held", "paused", "resumed", "command_refused")


@dataclass(frozen=True)
class Arm:
    """A running version: its name, registry version, and the ports of its servers, one a replica."""

    name: str
    version: str
    ports: tuple[int, ...]

    @property
    def port(self) -> int:
        """Of its first server."""
        return self.ports[0]


@dataclass
class Rollout:
    """One release as far as the log tells.

    Attributes:
        step: position in the plan's steps that traffic follows, under gates.
        stopped: why it is held or paused, or None.
        baseline: stable's latency as frozen for the gates.
        elapsed_s: seconds under gates when the last entry was written; ``step_elapsed_s`` when its step began,
            ``resumed_elapsed_s`` when a person last let it go on.
        resumed_at: when that was, ISO 8601, or None.
        joining: port of a server of the new version that gets no request before the next step, or None.
        stable_ports: of a rolling release, stable's servers before it.
    """

    id: str
    model: str
    version: str
    phase: Phase
    plan: dict[str, Any]
    arm: str | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)
    smoke: dict[str, Any] | None = None
    step: int | None = None
    stopped: str | None = None
    baseline: dict[str, Any] | None = None
    elapsed_s: float = 0.0
    step_elapsed_s: float = 0.0
    resumed_elapsed_s: float = 0.0
    resumed_at: str | None = None
    joining: int | None = None
    stable_ports: tuple[int, ...] = ()
    reason: str | None = None
    record: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        return self.phase in FINAL

    @property
    def status(self) -> str:
        """The phase in words; of a rollout that is held or paused, also why."""
        words = self.phase.replace("_", " ")
        if self.percent is not None:
            words = f"at {self.percent}%"
        return f"{words}, {self.stopped}" if self.stopped and not self.done else words

    @property
    def gated(self) -> bool:
        """Whether gates decide what comes next."""
        return self.phase in ("stepped", "shadowing")

    @property
    def percent(self) -> int | None:
        """Weight of the new version while gates compare it with stable; None at other times."""
        if self.phase != "stepped" or self.step is None:
            return None
        return int(self.plan["steps"][self.step]["weight"])

    @property
    def commands(self) -> set[str]:
        """Ids of the commands that were carried out or refused."""
        return {e["command"] for e in self.entries if "command" in e}


@dataclass
class ModelState:
    """A model's arms, weights and champion as the log has them, and its releases in order.

    ``stable`` is the arm of the last completed release, ``previous`` the one it replaced (when it is kept running).
    ``draining`` are arms, by the release that ended them, which get no new request and may still answer old ones.
    """

    model: str
    stable: str | None = None
    previous: str | None = None
    champion: str | None = None
    arms: dict[str, Arm] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    draining: dict[str, str] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    current: str | None = None

    @property
    def running(self) -> Rollout | None:
        """The release that is under way."""
        return self.rollouts[self.current] if self.current is not None else None

    @property
    def servers(self) -> dict[str, tuple[int, ...]]:
        """Ports of the servers that are to run, by arm: those that answer, and one that is to join."""
        found = {name: arm.ports for name, arm in self.arms.items()}
        if self.running is not None and self.running.joining is not None and self.running.arm is not None:
            found[self.running.arm] += (self.running.joining,)
        return found

    @property
    def sticky(self) -> dict[str, str] | None:
        """By what users are told apart while each stays with one version."""
        rollout = self.running
        if rollout is None or rollout.percent is None or rollout.plan["strategy"] != "ab":
            return None
        segments = rollout.plan["segments"]
        return {"by": segments["by"], "name": segments["name"], "salt": rollout.id}

    @property
    def mirror(self) -> tuple[str, int] | None:
        """The arm that gets copies of requests, and of how many percent."""
        rollout = self.running
        if rollout is None or rollout.phase != "shadowing" or rollout.arm is None:
            return None
        return rollout.arm, int(rollout.plan["shadow"]["percent"])


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
        was = entry.get("was", arm.port)
        ports = tuple(entry["port"] if port == was else port for port in arm.ports)
        state.arms[arm.name] = Arm(arm.name, arm.version, ports)
        return
    elif kind == "drained":
        state.draining.pop(entry["arm"], None)
        _keep(state)
        return
    rollout = state.rollouts[ident]
    rollout.entries.append(entry)
    rollout.elapsed_s = entry.get("elapsed_s", rollout.elapsed_s)
    if kind in REMARKS:
        _remark(rollout, kind, entry)
        return
    rollout.phase = kind
    if kind == "starting":
        rollout.arm = entry["arm"]
        state.draining.pop(entry["arm"], None)
        if "ports" in entry:
            state.arms[entry["arm"]] = Arm(entry["arm"], rollout.version, tuple(entry["ports"]))
        else:  # written before arms had several servers
            state.arms.setdefault(entry["arm"], Arm(entry["arm"], rollout.version, (entry["port"],)))
        state.weights.setdefault(entry["arm"], 0)
    elif kind == "smoked":
        rollout.smoke = entry["evidence"]
    elif kind in ("stepped", "switched"):
        state.weights = dict(entry["weights"])
        rollout.step, rollout.step_elapsed_s = entry.get("step"), rollout.elapsed_s
        if rollout.step == 0:  # of a shadow before it nothing counts
            rollout.resumed_elapsed_s = 0.0
        if rollout.plan["strategy"] == "rolling":
            _roll(state, rollout)
    elif kind == "aliased":
        state.champion = rollout.version
    elif kind == "completed":
        _complete(state, rollout, entry)
    elif kind == "rolled_back":
        rollout.reason, rollout.record = entry["reason"], entry["record"]
        if rollout.arm is not None and state.weights.get(rollout.arm) and state.stable != rollout.arm:
            state.draining[rollout.arm] = ident
            state.weights = {**dict.fromkeys(state.weights, 0), **({state.stable: 100} if state.stable else {})}
        if rollout.stable_ports and state.stable is not None:
            state.arms[state.stable] = replace(state.arms[state.stable], ports=rollout.stable_ports)
        state.current = None
        _keep(state)
    elif kind not in ("submitted", "ready", "shadowing"):
        raise ValueError(f"unknown type of entry {kind!r} in the log of {state.model}")


def _roll(state: ModelState, rollout: Rollout) -> None:
    """A step of a rolling release: the server that was joining answers, and stable gives up as large a share of its."""
    if rollout.arm is None or state.stable in (None, rollout.arm):
        return
    assert state.stable is not None
    if rollout.joining is not None:
        new = state.arms[rollout.arm]
        state.arms[new.name] = replace(new, ports=(*new.ports, rollout.joining))
        rollout.joining = None
    stable = state.arms[state.stable]
    rollout.stable_ports = rollout.stable_ports or stable.ports
    left = round(len(rollout.stable_ports) * state.weights[stable.name] / 100)
    state.arms[stable.name] = replace(stable, ports=rollout.stable_ports[: max(1, left)])


def _complete(state: ModelState, rollout: Rollout, entry: dict[str, Any]) -> None:
    rollout.record = entry["record"]
    # A rolling release is made where there is no room for both versions' servers.
    keep = rollout.plan["keep_previous"] and rollout.plan["strategy"] != "rolling"
    if rollout.arm != state.stable:
        if state.stable is not None and not keep:
            state.draining[state.stable] = rollout.id
        state.previous = state.stable if keep else None
        state.stable = rollout.arm
    state.current = None
    _keep(state)


def _remark(rollout: Rollout, kind: str, entry: dict[str, Any]) -> None:
    if kind == "baselined":
        rollout.baseline = entry["baseline"]
    elif kind == "grown":
        rollout.joining = entry["port"]
    elif kind in ("held", "paused"):
        rollout.stopped = f"{kind}: {entry['reason']}"
    elif kind == "resumed":
        rollout.stopped = None
        rollout.resumed_elapsed_s, rollout.resumed_at = rollout.elapsed_s, entry["at"]


def _keep(state: ModelState) -> None:
    """Forget the arms that nothing needs: not stable's, not the previous, not draining, not of a running release."""
    names = {state.stable, state.previous, *state.draining}
    if state.running is not None:
        names.add(state.running.arm)
    state.arms = {name: arm for name, arm in state.arms.items() if name in names}
    state.weights = {name: weight for name, weight in state.weights.items() if name in names}
