"""The decision record: what a release came to, and why, as the log keeps it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from serving.errors import ClearwayError
from serving.rollout import kinds
from serving.rollout.state import ModelState, Rollout
from serving.settings import Settings


def decision_record(
    state: ModelState, rollout: Rollout, outcome: str, reason: str | None, settings: Settings
) -> dict[str, Any]:
    """The decision record: everything that somebody who asks "why does this version serve?" needs."""
    stable = state.arms.get(state.stable) if state.stable else None
    try:
        metadata = kinds.origin(state.model, rollout.version, settings)
    except ClearwayError:
        metadata = {}
    return {
        "model": state.model,
        "version": rollout.version,
        "replaced": stable.version if stable and stable.name != rollout.arm else None,
        "strategy": rollout.plan["strategy"],
        "outcome": outcome,
        "why": reason,
        "requested_by": rollout.plan["requested_by"],
        "request_reason": rollout.plan["reason"],
        "approved_by": approved_by(rollout) if outcome == "completed" else None,
        "submitted_at": rollout.entries[0]["submitted_at"],
        "decided_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "smoke": rollout.smoke,
        "gates": rollout.plan["evidence"],
        "evidence": next(
            (e["evidence"] for e in reversed(rollout.entries) if e["type"] == "switched" and "evidence" in e), None
        ),
        "steps": steps_taken(rollout),
        "trained_from": metadata,
    }


def approved_by(rollout: Rollout) -> str:
    """Who or what let the new version take all traffic."""
    (switched,) = [e for e in rollout.entries if e["type"] == "switched"]
    if "by" in switched:
        return str(switched["by"])
    return "the plan's gates" if "evidence" in switched else "the plan's smoke test"


def steps_taken(rollout: Rollout) -> list[dict[str, Any]]:
    """What happened under gates, in order: when, which weight, why."""
    kinds = ("shadowing", "stepped", "switched", "held", "paused", "resumed")
    return [
        {
            "at": e["at"],
            "what": e["type"],
            "percent": e["weights"][rollout.arm] if "weights" in e else None,
            "why": e.get("why") or e.get("reason"),
            "by": e.get("by"),
        }
        for e in rollout.entries
        if e["type"] in kinds
    ]
