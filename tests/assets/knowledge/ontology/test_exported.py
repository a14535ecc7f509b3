"""RDF made from the version before is the RDF made anew, whatever changed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.knowledge.ontology import exported
from assets.knowledge.ontology.exported import CONTENTS, QUADS
from assets.knowledge.ontology.vocabulary import Vocabulary
from serving.errors import ClearwayError
from serving.retrieval import sparql
from serving.retrieval.elements import Part, Relation
from tests.knowledge import part, pump, site

X = "https://example.org/x#"
PUMPS = [pump(n) for n in range(4)]


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    from rdflib import Graph

    return Vocabulary({"Pump": X + "Pump", "Site": X + "Site"}, {"AT": X + "at"}, {}, Graph(), Graph())


@st.composite
def worlds(draw: Any) -> list[Part]:
    """Parts that may say one triple under several keys, and nodes that may be of another part than before."""
    months = draw(st.lists(st.sampled_from(["1", "2", "3"]), unique=True, max_size=3))
    relations = [
        part(
            f"r/{month}",
            [],
            [
                Relation(f"Pump:{n}", "AT", "Site:x", {"hours": draw(st.integers(0, 2))}, month, draw(ACCESSES))
                for n in draw(st.lists(st.integers(0, 3), unique=True, max_size=4))
            ],
        )
        for month in months
    ]
    split = draw(st.integers(0, 4))
    litres = draw(st.integers(0, 2))
    return [
        part("a", [*(pump(n, litres=float(litres)) for n in range(split)), site("x")], []),
        part("b", [pump(n, litres=1.0) for n in range(split, 4)], []),
        *relations,
    ]


ACCESSES = st.sampled_from(["", "secret"])


def content(folder: Path) -> tuple[list[bytes], set[str]]:
    store = ox.Store.read_only(str(folder / sparql.STORE))
    return (folder / QUADS).read_bytes().splitlines(), {str(quad) for quad in store}


def made(parts: Sequence[Part], words: Vocabulary, folder: Path, before: Path | None = None) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    exported.build(parts, words, folder, before)
    return folder


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(worlds(), min_size=2, max_size=4))
def test_a_changed_store_is_the_store_made_anew(
    versions: list[list[Part]], words: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "MOST_CHANGED", 100.0)
    before = None
    for number, parts in enumerate(versions):
        before = made(parts, words, tmp_path / f"v{number}", before)
        assert exported._contents(before, exported.digest("1", words.kinds, words.predicates)).derived == number  # type: ignore[union-attr]
        assert content(before) == content(made(parts, words, tmp_path / "anew"))


def world(litres: float, many: int = 200) -> list[Part]:
    sites = [site(f"s{n}") for n in range(many)]
    return [part("p", [pump(1, litres=litres)], []), part("s", sites, [])]


def derived(folder: Path) -> int:
    import orjson

    return int(orjson.loads((folder / CONTENTS).read_bytes())["derived"])


def test_little_that_changed_is_changed_and_much_is_made_anew(words: Vocabulary, tmp_path: Path) -> None:
    one = made(world(1.0), words, tmp_path / "1")
    two = made(world(2.0), words, tmp_path / "2", one)
    assert derived(two) == 1
    other = [part("p", [pump(1, litres=2.0)], []), part("s", [site(f"t{n}") for n in range(200)], [])]
    assert derived(made(other, words, tmp_path / "3", two)) == 0


@pytest.mark.parametrize("harm", [CONTENTS, QUADS, sparql.STORE, "cut", "words"])
def test_a_version_that_is_broken_is_not_gone_on_from(harm: str, words: Vocabulary, tmp_path: Path) -> None:
    one = made(world(1.0), words, tmp_path / "1")
    if harm == "cut":
        (one / QUADS).write_bytes((one / QUADS).read_bytes()[:-10])
    elif harm == "words":
        words = Vocabulary({**words.kinds, "Site": X + "Place"}, words.predicates, {}, words.schema, words.shapes)
    elif harm == sparql.STORE:
        shutil.rmtree(one / harm)
    else:
        (one / harm).write_bytes(b"nothing")
    two = made(world(2.0), words, tmp_path / "2", one)
    assert derived(two) == 0
    assert content(two) == content(made(world(2.0), words, tmp_path / "anew"))


def test_a_disk_that_refuses_is_named(words: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / QUADS).mkdir()
    with pytest.raises(ClearwayError, match=r"graph\.nq cannot be written"):
        exported.build(world(1.0), words, tmp_path)
