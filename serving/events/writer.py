"""Appends events to segments: JSON lines, one folder and one writer a process.

What is promised. When :meth:`EventWriter.append` returns, the events are with the operating system: a process killed
by ``kill -9`` loses none of them. They are on the disk at most ``fsync_seconds`` (100 ms) later: that is what a power
cut can take. A closed segment (``NNNNNN.jsonl``) was fsynced before it got its name and never changes again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from serving.errors import ClearwayError

log = logging.getLogger(__name__)
OPEN, CLOSED, TORN = ".open", ".jsonl", ".torn"
OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC


class EventsUnavailable(ClearwayError):
    """Events cannot be recorded; a prediction that leaves no record must not be served."""


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class EventWriter:
    """The one writer of ``folder``. Threads may share it; processes may not (a second one is refused).

    Args:
        folder: ``settings.events / <process>``.
        rotate_bytes: a segment is closed when it reaches this size.
        rotate_seconds: a segment that holds events is closed at this age, also when nothing more comes.
        fsync_seconds: longest time between an event's write and its fsync.
    """

    def __init__(
        self, folder: Path, rotate_bytes: int = 16 << 20, rotate_seconds: float = 30.0, fsync_seconds: float = 0.1
    ) -> None:
        self.folder, self._max_bytes, self._max_age, self._fsync_every = (
            folder,
            rotate_bytes,
            rotate_seconds,
            fsync_seconds,
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._guard = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._guard)
            raise EventsUnavailable(
                f"another process writes events to {folder}",
                untouched="its segments.",
                todo="stop the other process, or start this one under another arm name.",
            ) from error
        self.torn_lines = 0
        self._recover()
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self._opened = 0.0
        self._dirty = False
        self._failure: str | None = None
        self._next = 1 + max((int(p.stem) for p in folder.iterdir() if p.stem.isdigit()), default=0)
        self._stopping = threading.Event()
        self._syncer = threading.Thread(target=self._sync_forever, name="events-fsync", daemon=True)
        self._syncer.start()

    def _recover(self) -> None:
        """Close what a dead process left open: whole lines stay, a torn tail is set aside and reported."""
        for left in sorted(self.folder.glob(f"*{OPEN}")):
            content = left.read_bytes()
            end = content.rfind(b"\n") + 1
            if end < len(content):
                self.torn_lines += 1
                torn = left.with_suffix(TORN)
                torn.write_bytes(content[end:])
                log.warning("%s ended in %d bytes of a torn line, kept in %s", left, len(content) - end, torn.name)
                with open(left, "r+b") as file:
                    file.truncate(end)
            if end == 0:
                left.unlink()
                continue
            with open(left, "r+b") as file:
                os.fsync(file.fileno())
            os.rename(left, left.with_suffix(CLOSED))
        _sync_folder(self.folder)

    def append(self, events: Sequence[dict[str, Any]]) -> None:
        """Record events, all or none, in one write.

        Raises:
            EventsUnavailable: the disk is full or failing; nothing of these events is in the segment.
        """
        data = b"".join(orjson.dumps(event, option=OPTIONS) + b"\n" for event in events)
        if not data:
            return
        with self._lock:
            try:
                if self._failure:
                    # What fsync could not write is not known; the segment is closed and the next one starts clean.
                    self._failure = None
                    self._rotate()
                if self._fd is None:
                    self._open()
                assert self._fd is not None
                self._write(self._fd, data)
            except OSError as error:
                raise EventsUnavailable(
                    f"the prediction could not be recorded in {self.folder}: {error.strerror or error}",
                    untouched="recorded events; the prediction was not served.",
                    todo="free space on the disk of the events; answers resume by themselves.",
                ) from error
            self._size += len(data)
            self._dirty = True
            if self._size >= self._max_bytes:
                self._rotate_or_note()

    def _open(self) -> None:
        path = self.folder / f"{self._next:06d}{OPEN}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._next += 1
        self._path, self._size, self._opened = path, 0, time.monotonic()

    def _write(self, fd: int, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            os.ftruncate(fd, self._size)
            raise

    def _rotate(self) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self._dirty = False
        if self._size == 0:
            self._path.unlink()
            return
        os.rename(self._path, self._path.with_suffix(CLOSED))
        _sync_folder(self.folder)

    def _rotate_or_note(self) -> None:
        try:
            self._rotate()
        except OSError as error:
            self._failure = str(error)
            log.error("segment %s could not be closed: %s", self._path, error)

    def _sync_forever(self) -> None:
        while not self._stopping.wait(self._fsync_every):
            with self._lock:
                if self._fd is not None and time.monotonic() - self._opened >= self._max_age:
                    self._rotate_or_note()
                fd = os.dup(self._fd) if self._fd is not None and self._dirty else None
                self._dirty = False
            if fd is None:
                continue
            # Outside the lock: appends go on while the disk is slow.
            try:
                os.fsync(fd)
            except OSError as error:
                self._failure = str(error)
                log.error("events of %s could not be fsynced: %s", self.folder, error)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Close the open segment and let go of the folder."""
        self._stopping.set()
        self._syncer.join()
        with self._lock:
            self._rotate_or_note()
        os.close(self._guard)
