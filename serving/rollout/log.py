"""The rollout log of a model: append-only JSON lines, each fsynced before what it says takes effect."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError
from serving.settings import Settings, get_settings

FILE = "log.jsonl"
CRASH_VARIABLE = "CLEARWAY_CRASH_AT"


def crash_point(name: str) -> None:
    """End this process as ``kill -9`` would when the environment names this point. For the fault tests."""
    if os.environ.get(CRASH_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)


class LogUnwritable(ClearwayError):
    """The log's disk is full or failing: nothing may take effect."""


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Whole entries in order. A torn last line is what a kill cut short: it never took effect, so it never was.

    Raises:
        ClearwayError: a line before the last is no entry.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    entries = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            raise ClearwayError(
                f"{path}, line {number} is no entry: {error}",
                untouched="running versions and weights.",
                todo="restore the log; the controller does nothing for this model until it can be read.",
            ) from error
    return entries


class RolloutLog:
    """The log of one model. Only the controller appends; anybody reads."""

    def __init__(self, model: str, settings: Settings | None = None) -> None:
        self.path = (settings or get_settings()).rollouts / model / FILE

    def entries(self) -> list[dict[str, Any]]:
        """See :func:`read_entries`."""
        return read_entries(self.path)

    def append(self, kind: str, rollout: str, **data: Any) -> dict[str, Any]:
        """Append one entry and fsync it; returns it.

        Raises:
            LogUnwritable: it could not be written; the log is as it was.
        """
        crash_point(f"before:{kind}")
        entry = {
            "seq": len(self.entries()) + 1,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "type": kind,
            "rollout": rollout,
            **data,
        }
        line = json.dumps(entry).encode() + b"\n"
        try:
            fresh = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "r+b" if not fresh else "w+b", buffering=0) as file:
                end = file.read().rfind(b"\n") + 1
                file.truncate(end)
                file.seek(end)
                try:
                    if file.write(line) != len(line):
                        raise OSError("the disk is full")
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
            if fresh:
                _sync(self.path.parent)
                _sync(self.path.parent.parent)
        except OSError as error:
            raise LogUnwritable(
                f"{self.path} cannot be written: {error.strerror or error}",
                untouched="weights, arms and aliases: nothing takes effect before it is logged.",
                todo="free space on its disk; the rollout goes on by itself.",
            ) from error
        crash_point(f"after:{kind}")
        return entry


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
