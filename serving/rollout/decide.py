"""What to do with a rollout under gates, given what they say. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.rollout.evaluate import Look
from serving.rollout.plan import ReleasePlan

# Of the strongest gate's part in the evidence, what another's must be to be told.
TELLING = 0.1
Action = Literal["wait", "advance", "promote", "hold", "roll_back"]


@dataclass(frozen=True)
class Decision:
    """An action and, in words, why."""

    action: Action
    why: str


def decide(
    plan: ReleasePlan, step: int, in_step_s: float, elapsed_s: float, stopped: str | None, look: Look
) -> Decision:
    """The next action.

    Args:
        step: position in ``plan.steps`` of the step that traffic follows.
        in_step_s: seconds since that step took effect.
        elapsed_s: seconds since the first step took effect, or since a person let it go on.
        stopped: why the rollout is held or paused; then it can only be rolled back from here.
    """
    limit = 1 / plan.alpha
    if look.combined >= limit:
        return Decision("roll_back", _worst(plan, look, limit))
    if stopped is not None:
        return Decision("wait", stopped)
    if look.sample_ratio >= plan.sample_ratio_evidence:
        return Decision(
            "hold",
            f"the split is not the declared one (evidence {look.sample_ratio:.0f}, {plan.sample_ratio_evidence:.0f} "
            f"allowed): of {look.new_count + look.stable_count} requests {look.new_count} went to the new version",
        )
    current = plan.steps[step]
    last = plan.steps[step + 1].weight == 100
    missing = _missing(plan, look, in_step_s, step) if not last else _unproven(plan, look)
    if missing is None:
        if last:
            return Decision("promote", _proof(plan, look))
        return Decision("advance", f"{current.weight}% for {in_step_s:.0f} s without evidence of harm")
    if elapsed_s >= plan.deadline_s:
        return Decision("hold", f"undecided after {elapsed_s:.0f} s: {missing}")
    return Decision("wait", missing)


def _worst(plan: ReleasePlan, look: Look, limit: float) -> str:
    """The gates that the evidence comes from, errors first, since a failed request is a slow one too."""
    shares = plan.gates.shares
    parts = {name: shares[name] * gate.rollback for name, gate in look.gates.items()}
    told = [
        f"gate {name}: {_value(gate.new)} on the new version against {_value(gate.stable)} on stable "
        f"({gate.new_count} and {gate.stable_count} requests)"
        for name, gate in look.gates.items()
        if parts[name] >= TELLING * max(parts.values())
    ]
    return f"{'; '.join(told)}; evidence {look.combined:.3g}, limit {limit:.3g}"


def _value(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def _missing(plan: ReleasePlan, look: Look, in_step_s: float, step: int) -> str | None:
    """What a step before the last still lacks."""
    current = plan.steps[step]
    if in_step_s < current.min_seconds:
        return f"{current.weight}% lasts {current.min_seconds:.0f} s, {in_step_s:.0f} so far"
    seen = look.by_percent.get(current.weight, 0)
    if seen < current.min_requests:
        return f"{current.weight}% needs {current.min_requests} requests on the new version, {seen} so far"
    return None


def _unproven(plan: ReleasePlan, look: Look) -> str | None:
    """All that a promotion still lacks."""
    lacking = []
    if plan.strategy == "ab":
        fewest = min(look.new_count, look.stable_count)
        if fewest < plan.segments.min_users:
            lacking.append(f"one version has {fewest} of {plan.segments.min_users} users")
    elif look.new_count < plan.min_requests:
        lacking.append(f"the new version has answered {look.new_count} of {plan.min_requests} requests")
    for name, gate in look.gates.items():
        if gate.promote >= plan.promote_evidence:
            continue
        if gate.new_count and gate.stable_count:
            lacking.append(f"gate {name}: evidence {gate.promote:.3g} of {plan.promote_evidence:.3g} for its margin")
        elif gate.new_count or gate.stable_count:
            lacking.append(f"gate {name}: only one of the versions reported a value for it")
        else:
            lacking.append(f"gate {name}: {look.awaiting or 'no request reported a value for it'}")
    return "; ".join(lacking) or None


def _proof(plan: ReleasePlan, look: Look) -> str:
    weakest = min(look.gates, key=lambda n: look.gates[n].promote)
    return (
        f"all gates are within their margins after {look.new_count} requests on the new version; "
        f"the weakest evidence is {look.gates[weakest].promote:.3g} ({weakest}), {plan.promote_evidence:.3g} needed"
    )
