"""The pointer by which all readers are switched: whole or not at all, and what is broken is named."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import orjson
import pytest

from serving.errors import ClearwayError
from serving.retrieval.opened import NotPublished, Versions
from serving.retrieval.published import (
    READERS_SECONDS,
    Published,
    current,
    pointer,
    publish,
    spare,
    wait_until_unread,
)
from serving.settings import Settings

FIRST = Published("v1", "a", "v1", ("", "a|b"), "english", 1000.0, {"nodes": 3}, {})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_what_is_published_is_read_back(settings: Settings) -> None:
    assert current(settings) is None
    publish(FIRST, settings)
    assert current(settings) == FIRST
    assert FIRST.folder(settings) == settings.knowledge / "indexes" / "v1"
    publish(replace(FIRST, version="v2", slot="b"), settings)
    assert current(settings) == replace(FIRST, version="v2", slot="b")
    assert [f.name for f in pointer(settings).parent.iterdir()] == ["current.json"]


def test_the_copy_that_is_written_is_never_the_one_that_is_read(settings: Settings) -> None:
    assert spare(settings) == "a"
    publish(FIRST, settings)
    assert spare(settings) == "b"
    publish(replace(FIRST, slot="b"), settings)
    assert spare(settings) == "a"


def test_the_spare_copy_is_left_to_its_last_readers(settings: Settings) -> None:
    slept: list[float] = []

    def clock(now: float) -> SimpleNamespace:
        return SimpleNamespace(time=lambda: now, sleep=slept.append)

    wait_until_unread(settings, clock(0))
    assert slept == [], "nothing is published"
    publish(FIRST, settings)
    for now in (1000.0, 1005.0, 5000.0, -5000.0):  # the last: the clock was set back
        wait_until_unread(settings, clock(now))
    assert slept == [READERS_SECONDS, READERS_SECONDS - 5, 0, READERS_SECONDS]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[1]", b"3", b"{}", b'{"accesses": [""]}', b'{"accesses": null}', b"\x00\xff"]
)
def test_a_broken_pointer_is_named(settings: Settings, content: bytes) -> None:
    pointer(settings).parent.mkdir(parents=True)
    pointer(settings).write_bytes(content)
    with pytest.raises(ClearwayError, match=r"current\.json cannot be read") as caught:
        current(settings)
    assert caught.value.todo
    with pytest.raises(ClearwayError):
        Versions(settings).current()


def test_a_field_of_another_version_of_the_program_is_named(settings: Settings) -> None:
    publish(FIRST, settings)
    content = orjson.loads(pointer(settings).read_bytes())
    pointer(settings).write_bytes(orjson.dumps({**content, "colour": "red"}))
    with pytest.raises(ClearwayError, match="colour"):
        current(settings)


@pytest.mark.parametrize("what", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_what_is_published(settings: Settings, what: str) -> None:
    publish(FIRST, settings)
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch.object(os, what, side_effect=full),
        pytest.raises(ClearwayError, match=r"current\.json cannot be written.*No space"),
    ):
        publish(replace(FIRST, version="v2"), settings)
    assert current(settings) == FIRST
    assert [f.name for f in pointer(settings).parent.iterdir()] == ["current.json"]


def test_nothing_is_published_yet(settings: Settings) -> None:
    with pytest.raises(NotPublished, match="no knowledge is published yet"):
        Versions(settings).current()


def test_readers_see_whole_pointers_only(settings: Settings) -> None:
    publish(FIRST, settings)
    done, problems = threading.Event(), list[Exception]()

    def read() -> None:
        while not done.is_set():
            try:
                found = current(settings)
                assert found is not None
                assert found.version == f"v{found.counts['nodes']}"
            except Exception as error:
                problems.append(error)
                return

    publish(replace(FIRST, version="v0", counts={"nodes": 0}), settings)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        publish(replace(FIRST, version=f"v{number}", counts={"nodes": number}), settings)
    done.set()
    reader.join(10)
    assert problems == []
