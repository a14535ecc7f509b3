"""A small version of the knowledge, brought into real stores and published as the pipeline does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from assets.knowledge import load, vectors
from assets.knowledge.build import build_index, switch
from assets.knowledge.ontology.vocabulary import PLATFORM, Vocabulary
from assets.knowledge.spec import GraphFile
from assets.knowledge.staged import Wanted, keep, unique
from serving.retrieval import arcadedb, servers
from serving.retrieval.copy import Copy
from serving.retrieval.elements import Node, Part, Passage
from serving.retrieval.embedding import embedder
from serving.retrieval.published import Published
from serving.settings import Settings
from tests.knowledge import at, part, pump, site

KINDS = ("Pump", "Site", "Supplier")
PREDICATES = ("AT", "FEEDS", "MADE_BY")
SAID = {
    "name": "said",
    "description": "Of which version each pump is.",
    "questions": ["of which version are the pumps?"],
    "cypher": "MATCH (p:Pump) RETURN p.uid AS uid, p.said AS said ORDER BY uid",
    "cites": ["uid"],
    "answer": "{uid} is of version {said}",
}


def wanted(*parts: Part) -> Wanted:
    return Wanted(unique(parts), "english")


def notes(version: str, count: int = 3, access: str = "") -> list[Passage]:
    """Passages that say of which version they are."""
    return [
        Passage(f"Document:{n}#0", f"Document:{n}", "", f"Pump {n} was mended, says the {version} note.", 0,
                (f"Pump:{n}",), access)
        for n in range(count)
    ]  # fmt: skip


def some(version: str, count: int = 40) -> Wanted:
    """``count`` pumps at two sites, and notes, each of which says the version's name."""
    pumps = part("pumps", [pump(n, said=version) for n in range(count)])
    sites = part("sites", [site("x"), site("y")], [at(n, "xy"[n % 2]) for n in range(count)])
    written = Part(
        "notes", tuple(Node(f"Document:{n}", "Document", f"note {n}") for n in range(3)), (), tuple(notes(version))
    )
    return wanted(pumps, sites, written)


def words() -> Vocabulary:
    from rdflib import Graph

    own = {name: f"https://example.org/pumps#{name}" for name in (*KINDS, *PREDICATES)}
    kinds = {**{k: own[k] for k in KINDS}, **{k: PLATFORM + k for k in ("Document", "Community")}}
    return Vocabulary(
        kinds, {**{p: own[p] for p in PREDICATES}, "IN_COMMUNITY": PLATFORM + "inCommunity"}, {}, Graph(), Graph()
    )


def declared(queries: Sequence[dict[str, Any]] = ()) -> GraphFile:
    kinds = {k: {"iri": f"x:{k}", "description": k, "reads": ["t"], "sql": "select 1"} for k in KINDS}
    return GraphFile.model_validate({"kinds": kinds, "queries": list(queries)})


def beside(stores: Settings, home: Path) -> Settings:
    """A home of its own whose stores are those of another."""
    password = SecretStr(arcadedb.password(stores))
    return stores.model_copy(update={"home": home, "graph_password": password})


def bring(some: Wanted, settings: Settings, slot: str, embedded: Path | None = None) -> None:
    """Bring both stores' copies to what is wanted.

    Args:
        embedded: the cache of vectors, the home's own if None.
    """
    with servers.graph(settings, slot) as client:
        load.bring(Copy(client), some.parts)
    cache = vectors.Embedded(embedded or settings.knowledge / "embedded.db", embedder(some.embeddings))
    collection = servers.vectors(settings, slot)
    try:
        vectors.bring(collection, list(some.embedded), cache)
    finally:
        cache.close()
        collection.close()


def published(
    some: Wanted, settings: Settings, slot: str, graph: GraphFile | None = None, embedded: Path | None = None
) -> Published:
    """Bring, build and switch."""
    keep(some, settings)
    bring(some, settings, slot, embedded)
    return switch(some, slot, build_index(some, graph or declared(), words(), settings), settings)
