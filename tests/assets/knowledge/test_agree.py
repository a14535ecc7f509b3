"""Marts, graph and vectors against what is wanted: each difference is named with its count."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from assets.knowledge.agree import behind, compare
from assets.knowledge.load import bring
from assets.knowledge.spec import GraphFile
from assets.knowledge.staged import Wanted, unique
from assets.knowledge.vectors import Brought, Embedded, row_digest, text_of
from assets.knowledge.vectors import bring as bring_vectors
from serving.retrieval import servers
from serving.retrieval.elements import Passage
from serving.retrieval.embedding import embedder
from serving.retrieval.vectors import Row
from serving.settings import Settings
from tests.knowledge import at, emptied, part, pump, site

GRAPH = GraphFile.model_validate(
    {"kinds": {"Pump": {"iri": "x:Pump", "description": "p", "reads": ["pumps"], "sql": "select id, name from pumps"}}}
)
WANTED = Wanted(
    unique([
        part("Pump", [pump(n) for n in range(5)]),
        part("Site", [site("x")], [at(n, "x") for n in range(5)]),
        part("notes", [], [], *(Passage(f"Pump:{n}#0", f"Pump:{n}", "t", f"pump {n} leaks") for n in range(3))),
    ]),
    "english",
)  # fmt: skip


def test_rows_that_came_and_went_since_are_counted() -> None:
    connection = duckdb.connect()
    connection.execute("create table pumps as select i as id, 'pump ' || i as name from range(1, 8) t(i)")
    found = {one.what: (one.count, one.examples) for one in behind(GRAPH, connection, WANTED)}
    assert found == {
        "Pump rows that are not published": (3, ("Pump:5", "Pump:6", "Pump:7")),
        "Pump things that have no row any more": (1, ("Pump:0",)),
    }


@pytest.mark.integration
def test_every_id_of_every_store_is_compared(stores: Settings, tmp_path: Path) -> None:
    copy = emptied(stores, "b")
    model = embedder("english")
    collection = servers.vectors(stores, "b")
    cache = Embedded(tmp_path / "embedded.db", model)
    try:
        bring(copy, WANTED.parts)
        bring_vectors(collection, list(WANTED.embedded), cache)
        assert compare(WANTED, copy, collection, model.name, deep=True) == []
        copy.graph.write("MATCH (n:Pump {uid: 'Pump:3'}) DETACH DELETE n")
        copy.graph.write("CREATE (n:Pump {uid: 'Pump:77'})")
        collection.remove(["Pump:1#0"])
        other = [Passage("Pump:2#0", "Pump:2", "t", "another text"), Passage("Pump:9#0", "Pump:9", "t", "stray")]
        collection.put(_rows(other, cache))
        assert compare(WANTED, copy, collection, model.name)[0].store == "vectors"
        found = {
            (one.store, one.what): one.examples for one in compare(WANTED, copy, collection, model.name, deep=True)
        }
        assert found == {
            ("graph", "Pump nodes that are missing"): ("Pump:3",),
            ("graph", "Pump nodes that are not wanted"): ("Pump:77",),
            ("graph", "AT relations that are missing"): (at(3, "x").uid,),
            ("vectors", "passages that are missing"): ("Pump:1#0",),
            ("vectors", "passages that are not wanted"): ("Pump:9#0",),
            ("vectors", "passages that are of another text or access"): ("Pump:2#0",),
        }
    finally:
        cache.close()
        collection.drop()
        collection.close()
        copy.graph.close()


def _rows(passages: list[Passage], cache: Embedded) -> list[Row]:
    vectors = cache.vectors([text_of(p) for p in passages], Brought())
    return [
        Row(p.uid, p.document, text_of(p), p.access, row_digest(p, cache.model.name), vector)
        for p, vector in zip(passages, vectors, strict=True)
    ]
