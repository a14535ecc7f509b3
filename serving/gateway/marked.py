"""Questions that users marked wrong, one line each, in a file that the copilot's evaluation takes in."""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from serving.errors import ClearwayError
from serving.semantics.query import MetricQuery, QueryError
from serving.settings import Settings

MOST, MOST_BYTES = 4_000, 10_000_000  # of a mark and of the file; beyond them somebody has to look first


def file_of(settings: Settings) -> Path:
    """JSON lines: ``id``, ``at`` (seconds since the epoch), ``question``, ``today`` (the newest day of the data then),
    ``query`` (the right one or null), ``by``."""
    return settings.home / "copilot" / "marked.jsonl"


class Marked:
    """Appends marked questions. Safe between threads of one process."""

    def __init__(self, settings: Settings) -> None:
        self._path = file_of(settings)
        self._lock = threading.Lock()

    def keep(self, question: str, today: date, right: MetricQuery | None, by: str) -> str:
        """Append one and have it on disk; returns its id.

        Raises:
            QueryError: the mark is too long.
            ClearwayError: the file is full or cannot be written; nothing was kept.
        """
        ident = uuid.uuid4().hex[:12]
        line: dict[str, Any] = {
            "id": ident,
            "at": time.time(),
            "question": question,
            "today": today.isoformat(),
            "query": right.model_dump(mode="json", exclude_defaults=True) if right else None,
            "by": by,
        }
        written = orjson.dumps(line) + b"\n"
        if len(written) > MOST:
            raise QueryError(f"a mark of {len(written)} bytes", todo=f"at most {MOST} are kept; name fewer values.")
        with self._lock:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a+b") as file:
                    size = file.seek(0, os.SEEK_END)
                    if size + len(written) > MOST_BYTES:
                        raise ClearwayError(
                            f"{self._path} has {size:,} bytes already", todo="look through it and move it away."
                        )
                    if size:
                        file.seek(size - 1)
                    torn = b"\n" if size and file.read(1) != b"\n" else b""  # by a crash or a full disk
                    file.write(torn + written)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise ClearwayError(f"{self._path}: the mark could not be kept: {error}") from error
        return ident


def read_marked(settings: Settings) -> list[dict[str, Any]]:
    """All marked questions, oldest first; a line that was cut by a crash is left out."""
    path = file_of(settings)
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return found
