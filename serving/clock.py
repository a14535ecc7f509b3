"""The one injected clock: what is known is decided by data time, never by the wall clock behind its back.

``CLEARWAY_NOW`` (an ISO 8601 instant with an offset) sets the time of a replay; without it the clock is the wall's.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from serving.errors import SettingsError


def now() -> datetime:
    """The current instant of data time, in UTC.

    Raises:
        SettingsError: ``CLEARWAY_NOW`` is not an ISO 8601 instant with an offset.
    """
    text = os.environ.get("CLEARWAY_NOW")
    if not text:
        return datetime.now(UTC)
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise ValueError("no offset")
    except ValueError as error:
        raise SettingsError(
            f"CLEARWAY_NOW: expected an ISO 8601 instant such as 2013-04-01T00:00:00+00:00; found {text!r} ({error}).",
            untouched="everything; nothing was started.",
            todo="set it right, or unset it to use the wall clock.",
        ) from error
    return instant.astimezone(UTC)
