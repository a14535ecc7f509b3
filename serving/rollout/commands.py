"""What people tell a running rollout: pause, resume, promote, abort. The controller carries it out and logs it."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

from serving.errors import ClearwayError
from serving.rollout.plan import ReleasePlan
from serving.rollout.read import read_state
from serving.rollout.submit import submit
from serving.settings import Settings, get_settings

Action = Literal["pause", "resume", "promote", "abort"]
ACTIONS = get_args(Action)


@dataclass(frozen=True)
class Command:
    """One instruction: which rollout, what, who says so and why. All of it goes into the rollout's log."""

    id: str
    model: str
    rollout: str
    action: Action
    by: str
    reason: str
    at: str


def folder(settings: Settings) -> Path:
    """Where commands wait for the controller."""
    return settings.rollouts / "commands"


def send(model: str, action: str, by: str, reason: str, settings: Settings | None = None) -> Command:
    """Tell the model's running rollout something.

    Raises:
        ClearwayError: the action is unknown, or no rollout of the model is under way.
    """
    settings = settings or get_settings()
    if action not in ACTIONS:
        raise ClearwayError(f"action {action!r}: expected {', '.join(ACTIONS)}", untouched="every rollout.")
    if not reason.strip():
        raise ClearwayError("reason: expected some words for the record, found none", untouched="every rollout.")
    running = read_state(model, settings).running
    if running is None:
        raise ClearwayError(
            f"no rollout of model {model} is under way, so there is nothing to {action}.",
            untouched="the stable version.",
            todo="see GET /v1/rollouts; to go back to the version before, use roll_back.",
        )
    command = Command(
        uuid.uuid4().hex,
        model,
        running.id,
        cast(Action, action),
        by,
        reason.strip(),
        datetime.now(UTC).isoformat(),
    )
    where = folder(settings)
    where.mkdir(parents=True, exist_ok=True)
    aside = where / f".{command.id}"
    with open(aside, "w") as handle:
        json.dump(asdict(command), handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(aside, where / f"{command.id}.json")
    return command


def roll_back(model: str, by: str, reason: str, settings: Settings | None = None) -> str:
    """Release the version before the stable one again, blue-green; returns the rollout's id.

    Raises:
        ClearwayError: a rollout is under way (abort it), or there is no version before.
    """
    state = read_state(model, settings)
    if state.running is not None:
        raise ClearwayError(
            f"rollout {state.running.id} of model {model} is under way.",
            untouched="it.",
            todo="abort it: then users have the stable version; or wait until it is done.",
        )
    if state.previous is None:
        raise ClearwayError(
            f"model {model} has no version before the stable one to go back to.",
            untouched="the stable version.",
            todo="release the version that you want by a plan.",
        )
    version = state.arms[state.previous].version
    plan = ReleasePlan(model=model, version=version, strategy="blue_green", requested_by=by, reason=reason)
    return submit(plan, settings)


def waiting(settings: Settings) -> list[Command]:
    """Commands that wait, oldest first; a file that is none is left out."""
    found = []
    for file in folder(settings).glob("*.json"):
        try:
            content: dict[str, Any] = json.loads(file.read_text())
            found.append(Command(**content))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda c: (c.at, c.id))


def done(command: Command, settings: Settings) -> None:
    """Remove a command that the log holds by now."""
    (folder(settings) / f"{command.id}.json").unlink(missing_ok=True)
