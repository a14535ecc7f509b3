"""Hands a plan to the controller: a file in a folder, written by rename. Any process may submit."""

from __future__ import annotations

import json
import os
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError
from serving.rollout.log import RolloutLog
from serving.rollout.plan import ReleasePlan
from serving.settings import Settings, get_settings

FOLDER = "submitted"
IDENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


def folder(settings: Settings | None = None) -> Path:
    """Where submissions wait for the controller."""
    return (settings or get_settings()).rollouts / FOLDER


def submit(plan: ReleasePlan, settings: Settings | None = None, rollout_id: str | None = None) -> str:
    """Submit a plan; returns the rollout's id. A second rollout of a model waits until the first is done.

    Args:
        rollout_id: an id of the caller's own; submitting it again has no second effect, whatever became of the first.

    Raises:
        ClearwayError: the id is not letters, digits, '.', '_' or '-'.
    """
    ident = rollout_id or f"{plan.model}-v{plan.version}-{uuid.uuid4().hex[:8]}"
    if not IDENT.match(ident):
        raise ClearwayError(f"rollout id {ident!r}: expected letters, digits, '.', '_' or '-', at most 128")
    where = folder(settings)
    where.mkdir(parents=True, exist_ok=True)
    file = where / f"{ident}.json"
    logged = any(entry["rollout"] == ident for entry in RolloutLog(plan.model, settings).entries())
    if logged or file.exists():
        return ident
    content = {"id": ident, "submitted_at": datetime.now(UTC).isoformat(), "plan": plan.model_dump(mode="json")}
    aside = where / f".{ident}.{os.getpid()}"
    with open(aside, "w") as handle:
        json.dump(content, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(aside, file)
    return ident


def waiting(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Submissions that the controller has not taken yet, oldest first. Files that are no submission are left out."""
    found = []
    where = folder(settings)
    for file in where.glob("*.json") if where.exists() else ():
        try:
            content = json.loads(file.read_text())
            content["plan"]["model"], content["id"], content["submitted_at"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(content)
    return sorted(found, key=lambda item: (item["submitted_at"], item["id"]))


def take_back(ident: str, settings: Settings | None = None) -> None:
    """Remove a submission whose id the log holds by now."""
    (folder(settings) / f"{ident}.json").unlink(missing_ok=True)
