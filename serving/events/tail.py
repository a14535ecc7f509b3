"""Follows segments while they are written: open ones too, each line once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from serving.events.writer import CLOSED, OPEN

T = TypeVar("T")


class SegmentTail(Generic[T]):
    """Reads what was appended since the last call, over all writers below a folder.

    A segment keeps its place by its number when it is closed and renamed.

    Args:
        root: holds one folder a writer.
        parse: makes of a line what it says; None passes it over.
        writers: names of the writers to follow; None follows all, also those that appear later.
    """

    def __init__(self, root: Path, parse: Callable[[bytes], T | None], writers: tuple[str, ...] | None = None) -> None:
        self._root, self._parse, self._writers = root, parse, writers
        self._read: dict[Path, dict[int, int]] = {}

    def read(self) -> list[T]:
        """What is new, of each writer in its order."""
        found: list[T] = []
        for writer in sorted(self._root.iterdir()) if self._root.exists() else ():
            if writer.is_dir() and (self._writers is None or writer.name in self._writers):
                found.extend(self._of(writer))
        return found

    def _of(self, writer: Path) -> Iterator[T]:
        offsets = self._read.setdefault(writer, {})
        segments = {int(p.stem): p for p in writer.iterdir() if p.stem.isdigit() and p.suffix in (OPEN, CLOSED)}
        newest = max(offsets, default=0)
        for number in sorted(n for n in segments if n >= newest):
            try:
                with open(_as_named_now(segments[number]), "rb") as file:
                    file.seek(offsets.get(number, 0))
                    content = file.read()
            except FileNotFoundError:  # removed meanwhile
                continue
            end = content.rfind(b"\n") + 1
            offsets[number] = offsets.get(number, 0) + end
            for line in content[:end].splitlines():
                parsed = self._parse(line)
                if parsed is not None:
                    yield parsed
        for number in [n for n in offsets if n < max(offsets, default=0)]:
            del offsets[number]


def _as_named_now(path: Path) -> Path:
    """The segment under its name of now: it may have been closed since the folder was listed."""
    closed = path.with_suffix(CLOSED)
    return closed if not path.exists() and closed.exists() else path
