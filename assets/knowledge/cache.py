"""What was worked out once for a content, kept by its digest in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from serving.errors import ClearwayError

BATCH = 500


class Cache:
    """Bytes by key. A file that is broken is begun anew: all that it holds can be worked out again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError:
            file.unlink(missing_ok=True)
            self._open()

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._file, timeout=60)
        self._connection.execute("pragma secure_delete = on")  # What is forgotten is not left in free pages.
        self._connection.execute("create table if not exists kept (key text primary key, value blob) without rowid")

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def count(self) -> int:
        return int(self._connection.execute("select count(*) from kept").fetchone()[0])

    def get(self, keys: Collection[str]) -> dict[str, bytes]:
        """The values of those keys that are kept."""
        found: dict[str, bytes] = {}
        every = list(keys)
        for start in range(0, len(every), BATCH):
            some = every[start : start + BATCH]
            marks = ",".join("?" * len(some))
            found.update(self._connection.execute(f"select key, value from kept where key in ({marks})", some))
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """Keep values, all or none.

        Raises:
            ClearwayError: the file cannot be written.
        """
        with self._writing():
            self._connection.executemany("insert or replace into kept values (?, ?)", values.items())

    def retain(self, keys: Collection[str]) -> None:
        """Forget what is kept under other keys.

        Raises:
            ClearwayError: the file cannot be written.
        """
        wanted = set(keys)
        gone = [(key,) for (key,) in self._connection.execute("select key from kept") if key not in wanted]
        with self._writing():
            self._connection.executemany("delete from kept where key = ?", gone)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.OperationalError as error:
            raise ClearwayError(
                f"{self._file} cannot be written: {error}",
                untouched="what is published.",
                todo="free the disk and run again.",
            ) from error
