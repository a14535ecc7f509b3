"""Observations are read once each, in order, over rotation, a killed writer and several writers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.events.writer import EventWriter
from serving.rollout.observations import (
    Observation,
    ObservationTail,
    ObservationWriter,
    folder,
    parse_measures,
    parse_split,
    prune,
)
from serving.settings import Settings


def one(number: int) -> Observation:
    return Observation(float(number), f"r-{number}", "wilting", "wilting-v1", 200, measures={"latency_ms": 1.5})


def test_each_is_read_once_while_segments_rotate(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    tail, found = ObservationTail(settings), []
    assert tail.read() == []
    for life in range(3):
        writer = ObservationWriter(settings)
        for number in range(5):
            writer.write(one(10 * life + number))
            if number % 2:
                found += tail.read()
        writer.close()
    found += tail.read()
    assert [o.at for o in found] == [10.0 * life + n for life in range(3) for n in range(5)]
    assert found[0] == one(0)
    assert [o.at for o in ObservationTail(settings).read()] == [o.at for o in found], "another reader begins anew"
    assert tail.read() == []


def test_a_torn_line_waits_for_its_end_and_nonsense_is_passed_over(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    where = folder(settings) / "gateway"
    where.mkdir(parents=True)
    segment = where / "000001.open"
    line = b'{"at":1.0,"request_id":"r","model":"m","arm":"a","status":200}\n'
    segment.write_bytes(b"nonsense\n" + line[:20])
    tail = ObservationTail(settings)
    assert tail.read() == []
    with segment.open("ab") as file:
        file.write(line[20:] + b'{"colour": "red"}\n')
    assert [o.request_id for o in tail.read()] == ["r"]


def test_several_writers_are_all_read(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    writers = [ObservationWriter(settings, f"gateway-{n}") for n in range(2)]
    for number, writer in enumerate(writers):
        writer.write(one(number))
    assert {o.at for o in ObservationTail(settings).read()} == {0.0, 1.0}
    for writer in writers:
        writer.close()


def test_a_disk_that_cannot_be_written_loses_the_observation_and_not_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    writer = ObservationWriter(settings)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(EventWriter, "_write", full)
        writer.write(one(1))
    writer.write(one(2))
    assert [o.at for o in ObservationTail(settings).read()] == [2.0]
    writer.close()


def test_old_closed_segments_are_removed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for life in range(2):
        writer = ObservationWriter(settings)
        writer.write(one(life))
        writer.close()
    old, new = sorted((folder(settings) / "gateway").glob("*.jsonl"))
    os.utime(old, (0, 0))
    assert prune(settings, keep_s=60) == 1
    assert (old.exists(), new.exists()) == (False, True)
    assert [o.at for o in ObservationTail(settings).read()] == [1.0]


def test_headers() -> None:
    assert parse_split("wilting-v2-ab:25") == ("wilting-v2-ab", 25)
    assert parse_split("a:b:5") == ("a:b", 5)
    for bad in (None, "", "r", "r:", ":5", "r:-5", "r:x"):
        assert parse_split(bad) == (None, None)
    assert parse_measures("a=1, b=2.5,c=x,d=nan,=,e") == {"a": 1.0, "b": 2.5}
    assert parse_measures(None) == {}
