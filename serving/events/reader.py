"""Reads closed segments: what ingestion publishes into the lakehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from serving.errors import ClearwayError
from serving.events.writer import CLOSED
from serving.settings import get_settings


def closed_segments(events: Path | None = None) -> list[Path]:
    """All closed segments of all processes, sorted by process and number. They never change again."""
    root = events or get_settings().events
    return sorted(path for path in root.glob(f"*/*{CLOSED}") if path.stem.isdigit())


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Events of one closed segment, in the order in which they were served.

    Raises:
        ClearwayError: a line is no JSON object, so the file was changed by someone else; names file and line.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ClearwayError(
                    f"{path}, line {number} is no event: {error}",
                    untouched="the other segments.",
                    todo="restore the file, or move it out of the events folder to go on without it.",
                ) from error
            yield event
