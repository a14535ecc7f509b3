"""Full disks while the knowledge is written, and files of it that are broken when they are read."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from assets.knowledge import staged, vectors
from assets.knowledge.build import build_index, switch
from assets.knowledge.staged import keep
from serving.errors import ClearwayError
from serving.retrieval.embedding import embedder
from serving.retrieval.published import current, pointer
from serving.retrieval.service import Retrieval
from serving.settings import Settings
from tests.published import SAID, declared, some, words

pytestmark = [pytest.mark.faults, pytest.mark.integration]
EVERYBODY: frozenset[str] = frozenset()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows past ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    """A home whose first version is published, without stores."""
    settings = Settings(home=tmp_path)
    switch(some("first"), "a", build_index(some("first"), declared([SAID]), words(), settings), settings)
    return settings


@pytest.mark.parametrize("size", [100, 2_000])
def test_a_full_disk_while_what_is_wanted_is_kept(alone: Settings, size: int) -> None:
    before = pointer(alone).read_bytes()
    keep(some("first"), alone)
    with full_disk(size), pytest.raises(ClearwayError, match="cannot be written") as caught:
        keep(some("second"), alone)
    assert "free the disk" in str(caught.value)
    assert pointer(alone).read_bytes() == before
    assert staged.newest(alone) == some("first")
    keep(some("second"), alone)
    assert staged.newest(alone).version == some("second").version


@pytest.mark.parametrize("size", [10, 1_000, 10_000, 30_000])
def test_a_full_disk_while_an_index_is_written(alone: Settings, size: int) -> None:
    before, second = pointer(alone).read_bytes(), some("second", 400)
    with full_disk(size), pytest.raises(ClearwayError) as caught:
        build_index(second, declared([SAID]), words(), alone)
    assert caught.value.untouched
    assert pointer(alone).read_bytes() == before
    folder = alone.knowledge / "indexes" / second.version
    assert not (folder / "complete").exists()
    switch(second, "b", build_index(second, declared([SAID]), words(), alone), alone)
    assert (folder / "complete").exists()
    version = Retrieval(alone).version()
    assert (version.published.version, len(version.index.elements.nodes)) == (second.version, 405)


def test_a_full_disk_while_vectors_are_kept(alone: Settings) -> None:
    cache = vectors.Embedded(alone.knowledge / "embedded.db", embedder("english"))
    texts = [f"pump {n} leaks" for n in range(40)]
    with full_disk(20_000), pytest.raises(ClearwayError, match="cannot be written"):
        cache.vectors(texts, vectors.Brought())
    done = vectors.Brought()
    assert cache.vectors(texts, done).shape == (40, 384)
    assert done.embedded == 40
    assert cache.vectors(texts, done) is not None
    assert done.embedded == 40
    cache.close()


def test_a_full_disk_at_the_switch_leaves_the_version_before(alone: Settings) -> None:
    before, second = pointer(alone).read_bytes(), some("second")
    name = build_index(second, declared([SAID]), words(), alone)
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch.object(os, "fsync", side_effect=full), pytest.raises(ClearwayError, match="No space"):
        switch(second, "b", name, alone)
    assert pointer(alone).read_bytes() == before
    first = current(alone)
    assert first is not None
    assert (first.folder(alone) / "complete").exists(), "what is read stays"
    assert switch(second, "b", name, alone) == current(alone)


@pytest.mark.parametrize("name", ["passages/passages.jsonl", "passages/arrays.npz", "reports/manifest.json",
                                  "queries.json"])  # fmt: skip
def test_a_broken_index_is_named_and_read_when_it_is_whole_again(alone: Settings, name: str) -> None:
    now = current(alone)
    assert now is not None
    file = now.folder(alone) / name
    content = file.read_bytes()
    retrieval = Retrieval(alone)
    for broken in (content[: len(content) // 2], b"", None):
        file.unlink(missing_ok=True)
        if broken is not None:
            file.write_bytes(broken)
        with pytest.raises(ClearwayError, match=name.rpartition("/")[2]):
            retrieval.search("pump 1", EVERYBODY, methods=("names",))
    file.write_bytes(content)
    assert retrieval.search("pump 1", EVERYBODY, methods=("names",))["passages"]


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b"null", b'{"version": "v"}', b'{"accesses": 5}', b"\xff\x00"])
def test_a_torn_pointer_is_named_and_does_not_stop_who_reads_it_later(alone: Settings, torn: bytes) -> None:
    retrieval, file = Retrieval(alone), pointer(alone)
    assert retrieval.search("pump 1", EVERYBODY, methods=("names",))["passages"]
    content = file.read_bytes()
    file.write_bytes(torn)
    with pytest.raises(ClearwayError, match=r"current\.json cannot be read"):
        retrieval.search("pump 1", EVERYBODY, methods=("names",))
    file.write_bytes(content)
    assert retrieval.search("pump 1", EVERYBODY, methods=("names",))["passages"]
