"""Submits the challenger's release plan and waits for what the controller makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.training.tabular.register import DECISION, client
from serving.errors import ClearwayError
from serving.faults import boundary
from serving.models.registry import CHALLENGER
from serving.rollout.plan import read_plan
from serving.rollout.read import read_state, wait_for
from serving.rollout.state import Rollout
from serving.rollout.submit import submit
from serving.settings import Settings

# Beyond the plan's own times: starting, draining, the registry.
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Outcome:
    """What became of a release; ``status`` is ``released`` or ``unchanged``.

    ``held`` says why the rollout waits for a person, ``picture`` is its timeline as PNG, when it was under gates.
    """

    id: str
    version: str
    phase: str
    status: str
    reason: str | None
    plan: dict[str, Any]
    record: dict[str, Any] | None
    timeline: list[dict[str, Any]]
    held: str | None = None
    picture: bytes | None = None
    reached: tuple[int, ...] = ()


def release(
    model: str,
    plan_file: Path,
    settings: Settings,
    run_id: str,
    log: Callable[[str], None],
    decision: str | None = None,
) -> Outcome:
    """Release the challenger, unless it is what users get already.

    The rollout's id is made of the version and the run, so that a retried step observes its rollout and submits none;
    or of the version and the decision to retrain, whose run may be started again by another.

    Args:
        decision: id of the review that asked for the version.

    Raises:
        ClearwayError: there is no challenger, or the controller does not finish in time.
    """
    challenger = (_answering(model, decision, settings) if decision else None) or _challenger(model, settings)
    state = read_state(model, settings)
    stable = state.arms[state.stable].version if state.stable else None
    if stable == challenger and state.running is None:
        done = [r for r in state.rollouts.values() if r.version == stable and r.phase == "completed"]
        log(f"{model}: version {stable} is stable already")
        return _outcome(done[-1], "unchanged", settings)
    plan = read_plan(
        plan_file,
        version=challenger,
        requested_by=f"dagster run {run_id}",
        reason="the challenger passed its gates" + (f"; review {decision} asked for it" if decision else ""),
    )
    boundary("release.decided")
    name = decision.removeprefix(f"{model}-") if decision else run_id[:8]
    rollout_id = submit(plan, settings, rollout_id=f"{model}-v{challenger}-{name}")
    boundary("release.submitted")
    log(f"{model}: submitted rollout {rollout_id} of version {challenger}; stable is {stable or 'none'}")
    patience = (
        PATIENCE_S
        + plan.ready_timeout_s
        + (0 if plan.strategy == "blue_green" else plan.deadline_s * (2 if plan.shadow_first else 1))
    )
    return _outcome(wait_for(model, rollout_id, patience, settings, until_held=True), "released", settings)


def _answering(model: str, decision: str, settings: Settings) -> str | None:
    """The newest version that was made for a decision and passed its gates."""
    wanted = f"name = '{model}' and tag.`{DECISION}{decision}` = 'made' and tag.`clearway.gates` = 'passed'"
    found = client(settings).search_model_versions(wanted)
    return str(max(int(v.version) for v in found)) if found else None


def _challenger(model: str, settings: Settings) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client(settings).get_model_version_by_alias(model, CHALLENGER).version)
    except MlflowException as error:
        raise ClearwayError(
            f"model {model} has no version with the alias {CHALLENGER}.",
            untouched="the stable version and all weights.",
            todo=f"materialize models/{model}; a version gets the alias when all its gates pass.",
        ) from error


def _outcome(rollout: Rollout, status: str, settings: Settings) -> Outcome:
    from assets.delivery.timeline import picture_of

    return Outcome(
        rollout.id,
        rollout.version,
        rollout.phase,
        status,
        rollout.reason,
        rollout.plan,
        rollout.record,
        entries_in_words(rollout),
        held=rollout.stopped if not rollout.done else None,
        picture=picture_of(rollout, settings),
        reached=tuple(e["weights"][rollout.arm] for e in rollout.entries if "weights" in e and rollout.arm is not None),
    )


def entries_in_words(rollout: Rollout) -> list[dict[str, Any]]:
    """The rollout's log as rows for people: when, what, at which weight, why, by whom."""
    return [
        {
            "at": str(e.get("at", "-"))[:21].replace("T", " "),  # UTC, to the tenth of a second
            "entry": str(e["type"]).replace("_", " "),
            "weight": f"{e['weights'][rollout.arm]}%" if "weights" in e and rollout.arm is not None else "",
            "why": str(e.get("why") or e.get("reason") or ""),
            "by": str(e.get("by") or ""),
        }
        for e in rollout.entries
    ]
