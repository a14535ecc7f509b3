"""What is wanted is kept as one file, which is whole or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.knowledge.staged import Wanted, keep, newest, of_version, read, unique
from serving.errors import ClearwayError
from serving.retrieval.elements import Passage
from serving.settings import Settings
from tests.knowledge import at, part, pump, site

PARTS = unique([
    part("b", [pump(1, "secret", litres=2.5, on=True), site("x")], [at(1, "x", "secret")]),
    part("a", [], [], Passage("Doc:1#0", "Doc:1", "t", "ü", 3, ("Pump:1",), "plan")),
])  # fmt: skip
WANTED = Wanted(PARTS, "english")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_it_comes_back_as_it_went(settings: Settings) -> None:
    with pytest.raises(ClearwayError, match="make knowledge"):
        newest(settings)
    keep(WANTED, settings)
    found = newest(settings)
    assert found == WANTED
    assert found.version == WANTED.version
    assert found.accesses == ("", "plan", "secret")
    assert found.counts() == {"parts": 2, "nodes": 2, "relations": 1, "passages": 1}
    assert of_version(WANTED.version, settings) == WANTED


def test_a_version_is_its_content_and_its_model() -> None:
    other = Wanted(unique([part("b", [pump(1)])]), "english")
    assert len({WANTED.version, other.version, Wanted(PARTS, "multilingual").version}) == 3
    assert Wanted(unique(list(reversed(PARTS))), "english").version == WANTED.version


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "garbage"])
def test_a_file_that_is_not_whole_is_refused(settings: Settings, damage: str) -> None:
    file = keep(WANTED, settings)
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    damaged = {
        "cut": b"".join(lines[:-1]),
        "changed": content.replace("ü".encode(), b"u"),
        "empty": b"",
        "garbage": b"{" + content,
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(ClearwayError, match="broken"):
        read(file)


def test_a_few_versions_are_kept(settings: Settings) -> None:
    for number in range(6):
        keep(Wanted(unique([part("b", [pump(number)])]), "english"), settings)
    assert len(list((settings.knowledge / "staged").glob("*.jsonl"))) <= 4
    assert [n.uid for n in newest(settings).nodes] == ["Pump:5"]


def test_two_parts_of_one_name_are_refused() -> None:
    with pytest.raises(ClearwayError, match="a exist twice"):
        unique([part("a"), part("a")])
