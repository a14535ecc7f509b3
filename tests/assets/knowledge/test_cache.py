"""What is kept by digest: all or nothing, begun anew when broken, and not there any more once forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from assets.knowledge.cache import BATCH, Cache
from serving.errors import ClearwayError


def test_many_values_are_kept_and_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "kept.db"
    values = {f"key {n}": f"a text that nobody else has, number {n}".encode() for n in range(2 * BATCH + 1)}
    with Cache(file) as cache:
        cache.put(values)
        assert cache.get([*values, "other"]) == values
        cache.retain(["key 7", "other"])
        assert cache.get(values) == {"key 7": values["key 7"]}
        assert cache.count() == 1
    left = file.read_bytes()
    assert values["key 7"] in left
    assert values["key 8"] not in left, "nor in the file's free pages"


@pytest.mark.parametrize("content", [b"no database" * 200, b"SQLite format 3\x00" + b"x" * 4000])
def test_a_broken_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "kept.db"
    file.write_bytes(content)
    with Cache(file) as cache:
        cache.put({"a": b"1"})
        assert cache.get(["a"]) == {"a": b"1"}


def test_what_cannot_be_written_is_named_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "kept.db"
    with Cache(file) as cache:
        cache.put({"a": b"1"})
        (pages,) = cache._connection.execute("pragma page_count").fetchone()
        cache._connection.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(ClearwayError, match=r"kept\.db cannot be written: .*full"):
            cache.put({"b": b"2", "c": b"x" * 100_000})
        assert cache.get(["a", "b", "c"]) == {"a": b"1"}
    with sqlite3.connect(file) as again:
        assert again.execute("pragma integrity_check").fetchone() == ("ok",)
