"""The one injected clock: what is known is decided by data time, never by the wall clock behind its back.

``CLEARWAY_CLOCK`` names a file that holds the instant of a replay, whose processes all read it there as it moves on;
``CLEARWAY_NOW`` (an ISO 8601 instant with an offset) sets one that stands still. Without either it is the wall's.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from serving.errors import SettingsError


def now() -> datetime:
    """The current instant of data time, in UTC.

    Raises:
        SettingsError: what is set is not an ISO 8601 instant with an offset, or the file cannot be read.
    """
    variable, text = "CLEARWAY_NOW", os.environ.get("CLEARWAY_NOW", "")
    if file := os.environ.get("CLEARWAY_CLOCK"):
        variable, text = f"CLEARWAY_CLOCK ({file})", _read(Path(file))
    if not text:
        return datetime.now(UTC)
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise ValueError("no offset")
    except ValueError as error:
        raise SettingsError(
            f"{variable}: expected an ISO 8601 instant such as 2013-04-01T00:00:00+00:00; found {text!r} ({error}).",
            untouched="everything; nothing was started.",
            todo="set it right, or unset it to use the wall clock.",
        ) from error
    return instant.astimezone(UTC)


def set_to(file: Path, instant: datetime) -> None:
    """Move the clock that ``file`` holds, for every process whose ``CLEARWAY_CLOCK`` names it."""
    part = file.with_name(f".{file.name}.part")
    part.write_text(instant.astimezone(UTC).isoformat())
    os.replace(part, file)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"CLEARWAY_CLOCK: {file} cannot be read: {error.strerror}.",
            untouched="everything; nothing was started.",
            todo="write the instant into it, or unset CLEARWAY_CLOCK to use the wall clock.",
        ) from error
