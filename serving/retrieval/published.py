"""What of the knowledge is read: ``current.json`` names one copy of graph and vectors and one index, together.

It is replaced at once, so a reader has the old version or the new one in all three stores. The copy that is not named
is written by the next load, a while after the switch, when no request that began before it still reads it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from serving.errors import ClearwayError
from serving.settings import Settings
from serving.whole import replace

# Longer than any request to a store may take.
READERS_SECONDS = 12.0


@dataclass(frozen=True)
class Published:
    """A published version. ``index`` is its folder's name below ``knowledge/indexes``; times in seconds since 1970."""

    version: str
    slot: str
    index: str
    accesses: tuple[str, ...]
    embeddings: Literal["english", "multilingual"]
    published_at: float
    counts: dict[str, int] = field(default_factory=dict)
    previous: dict[str, str] = field(default_factory=dict)

    def folder(self, settings: Settings) -> Path:
        return settings.knowledge / "indexes" / self.index


def pointer(settings: Settings) -> Path:
    return settings.knowledge / "current.json"


def current(settings: Settings) -> Published | None:
    """What is published; None before the first.

    Raises:
        ClearwayError: the file is broken.
    """
    file = pointer(settings)
    try:
        content = orjson.loads(file.read_bytes())
        return Published(**{**content, "accesses": tuple(content["accesses"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ClearwayError(
            f"{file} cannot be read: {error}",
            untouched="the stores.",
            todo="remove it and publish again: make knowledge",
        ) from error


def spare(settings: Settings) -> str:
    """The copy that nobody is sent to."""
    now = current(settings)
    return "b" if now is not None and now.slot == "a" else "a"


def wait_until_unread(settings: Settings, clock: Any = time) -> None:
    """Wait until no request that began before the last switch still reads the spare copy."""
    now = current(settings)
    if now is not None:
        clock.sleep(min(READERS_SECONDS, max(0.0, now.published_at + READERS_SECONDS - clock.time())))


def publish(published: Published, settings: Settings) -> None:
    """Switch all readers to a version, at once.

    Raises:
        ClearwayError: the disk refuses it.
    """
    replace(pointer(settings), [orjson.dumps(asdict(published), option=orjson.OPT_INDENT_2)])
