"""What observers see of releases: read from the log and the queue, never from the controller."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from serving.errors import ClearwayError
from serving.rollout.log import FILE, RolloutLog
from serving.rollout.state import ModelState, Rollout, fold
from serving.rollout.submit import waiting
from serving.settings import Settings, get_settings


def read_state(model: str, settings: Settings | None = None) -> ModelState:
    """The state of a model's releases; empty when it never had one."""
    return fold(model, RolloutLog(model, settings).entries())


def released_models(settings: Settings | None = None) -> list[str]:
    """Models that have a log, sorted."""
    root = (settings or get_settings()).rollouts
    return sorted(path.parent.name for path in root.glob(f"*/{FILE}"))


def _queued(model: str, settings: Settings | None) -> list[Rollout]:
    return [
        Rollout(item["id"], model, str(item["plan"].get("version")), "queued", item["plan"])
        for item in waiting(settings)
        if item["plan"]["model"] == model
    ]


def list_rollouts(model: str, settings: Settings | None = None) -> list[Rollout]:
    """Releases of a model in order: those of the log, then the queued ones."""
    # The queue first: what the controller takes meanwhile is in its log before it leaves the queue.
    queued = _queued(model, settings)
    logged = read_state(model, settings).rollouts
    return [*logged.values(), *(item for item in queued if item.id not in logged)]


def read_rollout(model: str, rollout_id: str, settings: Settings | None = None) -> Rollout:
    """One release.

    Raises:
        ClearwayError: there is none of that id.
    """
    for rollout in list_rollouts(model, settings):
        if rollout.id == rollout_id:
            return rollout
    raise ClearwayError(f"model {model} has no rollout {rollout_id!r}", todo="list them: list_rollouts(model).")


def wait_for(
    model: str,
    rollout_id: str,
    timeout_s: float,
    settings: Settings | None = None,
    poll_s: float = 0.2,
    until_held: bool = False,
) -> Rollout:
    """The release once it is completed or rolled back; with ``until_held`` also once it waits for a person.

    Raises:
        ClearwayError: it is not done in time; the message says where it stands. It goes on all the same.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        rollout = read_rollout(model, rollout_id, settings)
        if rollout.done or (until_held and (rollout.stopped or "").startswith("held")):
            return rollout
        if time.monotonic() > deadline:
            raise ClearwayError(
                f"rollout {rollout_id} is still {rollout.status} after {timeout_s:.0f} s",
                untouched="the rollout, which goes on.",
                todo="see that the controller runs (supervisor's status) and read its log.",
            )
        time.sleep(poll_s)


def as_json(rollout: Rollout) -> dict[str, Any]:
    """A release as plain data, for the gateway and for metadata."""
    return {**asdict(rollout), "done": rollout.done}
