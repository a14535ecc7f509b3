"""Passages in the real vectors' server: brought by what differs, filtered by access, embedded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from assets.knowledge.vectors import Brought, Embedded, bring
from serving.errors import ClearwayError
from serving.retrieval import servers
from serving.retrieval.elements import Passage
from serving.retrieval.embedding import embedder
from serving.retrieval.vectors import Vectors, VectorsFault, quoted
from serving.settings import Settings

pytestmark = pytest.mark.integration


class Counting:
    """The real English model, counting the texts that it is given."""

    name = "counting"

    def __init__(self) -> None:
        self.texts = 0

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += len(texts)
        return embedder("english").passages(texts)

    def questions(self, texts: Sequence[str]) -> np.ndarray:
        return embedder("english").questions(texts)

    def count(self, text: str) -> int:
        return embedder("english").count(text)


@pytest.fixture
def collection(stores: Settings) -> Iterator[Vectors]:
    made = servers.vectors(stores, "a")
    yield made
    made.drop()
    made.close()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Embedded]:
    made = Embedded(tmp_path / "embedded.db", Counting())
    yield made
    made.close()


def passage(number: int, text: str, access: str = "") -> Passage:
    return Passage(f"Doc:{number}#0", f"Doc:{number}", "", text, 0, (), access)


TEXTS = ["the pump leaks oil", "the site is closed on Sunday", "a valve was replaced in March"]


def test_only_what_differs_is_written_and_a_text_is_embedded_once(collection: Vectors, cache: Embedded) -> None:
    every = [passage(n, text) for n, text in enumerate(TEXTS)]
    assert vars(bring(collection, every, cache)) == {"written": 3, "removed": 0, "embedded": 3}
    assert vars(bring(collection, every, cache)) == {"written": 0, "removed": 0, "embedded": 0}
    changed = [passage(0, TEXTS[0], "secret"), passage(1, "the site is open on Sunday")]
    assert vars(bring(collection, changed, cache)) == {"written": 2, "removed": 1, "embedded": 1}
    assert set(collection.held()) == {"Doc:0#0", "Doc:1#0"}
    # What is gone is not kept beside either.
    assert vars(bring(collection, every, cache)) == {"written": 3, "removed": 0, "embedded": 2}


def test_a_search_finds_only_what_the_accesses_show(collection: Vectors, cache: Embedded) -> None:
    bring(collection, [passage(0, TEXTS[0], "secret"), passage(1, TEXTS[1]), passage(2, TEXTS[2], "a|b")], cache)
    vector = embedder("english").questions(["leaking oil"])[0]
    assert next(iter(collection.dense(vector, ["", "secret"], 3))) == "Doc:0#0"
    assert set(collection.dense(vector, [""], 3)) == {"Doc:1#0"}
    assert set(collection.lexical("pump leaks", [""], 3)) <= {"Doc:1#0"}
    assert "Doc:0#0" in collection.lexical("pump leaks", ["secret"], 3)
    assert collection.dense(vector, [], 3) == {}
    # A passage whose labels change is nowhere under its old ones.
    bring(collection, [passage(0, TEXTS[0]), passage(1, TEXTS[1]), passage(2, TEXTS[2], "a|b")], cache)
    assert "Doc:0#0" not in collection.dense(vector, ["secret"], 3)
    assert "Doc:0#0" in collection.dense(vector, [""], 3)


def test_an_access_that_is_an_expression_is_a_value(collection: Vectors, cache: Embedded) -> None:
    bring(collection, [passage(0, TEXTS[0], "secret")], cache)
    vector = embedder("english").questions(["pump"])[0]
    for hostile in ('"] or access in ["secret', 'x" or uid != "', "\\"):
        assert collection.dense(vector, [hostile], 3) == {}
    with pytest.raises(ClearwayError, match="control"):
        quoted("a\nb")


def test_an_index_that_is_not_known_is_refused(collection: Vectors) -> None:
    with pytest.raises(ClearwayError, match="HNSW"):
        collection.make("HNSQ")  # type: ignore[arg-type]
    collection.make()


def test_the_alias_follows_the_switch(stores: Settings, cache: Embedded) -> None:
    a, b = servers.vectors(stores, "a"), servers.vectors(stores, "b")
    named = Vectors(stores.vectors, "passages")
    try:
        bring(a, [passage(0, TEXTS[0])], cache)
        bring(b, [passage(1, TEXTS[1])], cache)
        for one, uid in ((a, "Doc:0#0"), (b, "Doc:1#0"), (b, "Doc:1#0"), (a, "Doc:0#0")):
            one.point()
            assert set(named.held()) == {uid}
    finally:
        named.client.drop_alias("passages")
        for one in (a, b):
            one.drop()
            one.close()
        named.close()


def test_a_cache_that_is_broken_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "embedded.db"
    file.write_bytes(b"this is no database" * 100)
    cache = Embedded(file, Counting())
    assert cache.vectors(["x", "y"], Brought()).shape == (2, 384)
    cache.close()


def test_a_server_that_is_away_is_named() -> None:
    with pytest.raises(VectorsFault, match="127.0.0.1:1"):  # noqa: RUF043
        Vectors("http://127.0.0.1:1", "passages_a").held()
