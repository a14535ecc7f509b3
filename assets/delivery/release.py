"""Submits the challenger's release plan and waits for what the controller makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.training.tabular.register import client
from serving.errors import ClearwayError
from serving.rollout.plan import read_plan
from serving.rollout.read import read_state, wait_for
from serving.rollout.state import Rollout
from serving.rollout.submit import submit
from serving.settings import Settings

CHALLENGER = "challenger"
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Outcome:
    """What became of a release; ``status`` is ``released`` or ``unchanged``."""

    id: str
    version: str
    phase: str
    status: str
    reason: str | None
    plan: dict[str, Any]
    record: dict[str, Any] | None
    timeline: list[dict[str, Any]]


def release(model: str, plan_file: Path, settings: Settings, run_id: str, log: Callable[[str], None]) -> Outcome:
    """Release the challenger, unless it is what users get already.

    The rollout's id is made of the version and the run, so that a retried step observes its rollout and submits none.

    Raises:
        ClearwayError: there is no challenger, or the controller does not finish in time.
    """
    challenger = _challenger(model, settings)
    state = read_state(model, settings)
    stable = state.arms[state.stable].version if state.stable else None
    if stable == challenger and state.running is None:
        done = [r for r in state.rollouts.values() if r.version == stable and r.phase == "completed"]
        log(f"{model}: version {stable} is stable already")
        return _outcome(done[-1], "unchanged")
    plan = read_plan(
        plan_file, version=challenger, requested_by=f"dagster run {run_id}", reason="the challenger passed its gates"
    )
    rollout_id = submit(plan, settings, rollout_id=f"{model}-v{challenger}-{run_id[:8]}")
    log(f"{model}: submitted rollout {rollout_id} of version {challenger}; stable is {stable or 'none'}")
    return _outcome(wait_for(model, rollout_id, PATIENCE_S, settings), "released")


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


def _outcome(rollout: Rollout, status: str) -> Outcome:
    timeline = [{"at": str(e.get("at", "-")), "entry": str(e["type"])} for e in rollout.entries]
    return Outcome(
        rollout.id, rollout.version, rollout.phase, status, rollout.reason, rollout.plan, rollout.record, timeline
    )
