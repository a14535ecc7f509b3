"""The knowledge built step by step as plain calls, each timed: what the bench of the knowledge measures and asks."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    from assets.knowledge.build import Gathered
    from assets.knowledge.spec import GraphFile
    from assets.knowledge.staged import Wanted
    from serving.retrieval.elements import Part

SOURCE, DOCUMENTS = "safety_events", 100
REBUILT, CHANGED = "a", "b"
# One month of the warehouse's year, of middling size.
MONTH = "2013-06-01"
BUSY = 10.0  # percent of all processors


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started


def _rest(least: float = 5.0, most: float = 120.0) -> None:
    """Wait until the machine has nothing left to do of what was asked before: servers index and compact beside."""
    import psutil

    until, quiet = time.monotonic() + most, 0.0
    while quiet < least and time.monotonic() < until:
        quiet = quiet + 1 if psutil.cpu_percent(1.0) < BUSY else 0.0


class Knowledge:
    """The domain's knowledge in this process's home."""

    def __init__(self) -> None:
        from assets.domains import current_domain
        from assets.knowledge.ontology.vocabulary import vocabulary
        from assets.knowledge.spec import read_graph
        from assets.warehouse.manifest import load_manifest
        from orchestration.home import prepare
        from serving.retrieval import servers

        self.settings: Settings = get_settings()
        prepare(self.settings)
        self.domain = current_domain()
        declared = read_graph(self.domain.folder)
        assert declared is not None
        self.graph = declared
        self.manifest = load_manifest(self.domain.dbt_project, self.settings.dbt_target)
        self.words = vocabulary(self.domain.folder, self.graph)
        servers.start(self.settings)

    def gather(self, without: str | None = None) -> Gathered:
        """What is wanted; without the flights of a month, if one is given, as before that month was published."""
        import duckdb

        from assets.knowledge.build import gather

        file = self.settings.warehouse_file
        if without is not None:
            file = file.with_name("without.duckdb")
            shutil.copyfile(self.settings.warehouse_file, file)
        with duckdb.connect(str(file), read_only=without is None) as connection:
            if without is not None:
                connection.execute("delete from marts.fct_flights where period = ?", [without])
            found = gather(self.domain, self.graph, self.manifest, self.settings, connection)
        if without is not None:
            file.unlink()
        return found

    def checked(self, wanted: Wanted) -> None:
        from assets.knowledge.build import properties
        from assets.knowledge.ontology.shapes import violations
        from assets.knowledge.ontology.vocabulary import contradictions, undeclared

        wrong = [*undeclared(self.words, properties(wanted.parts)), *contradictions(self.words)]
        wrong += [str(each) for each in violations(wanted.parts, self.words)]
        assert not wrong, wrong[:5]

    def to_graph(self, wanted: Wanted, slot: str) -> dict[str, Any]:
        from assets.knowledge.load import bring
        from serving.retrieval import servers
        from serving.retrieval.copy import Copy

        servers.bound(self.settings, slot, 0)
        with servers.graph(self.settings, slot) as client:
            return vars(bring(Copy(client), wanted.parts))

    def to_vectors(self, wanted: Wanted, slot: str) -> dict[str, Any]:
        from assets.knowledge.vectors import Embedded, bring
        from serving.retrieval import servers
        from serving.retrieval.embedding import embedder

        cache = Embedded(self.settings.knowledge / "embedded.db", embedder(wanted.embeddings))
        collection = servers.vectors(self.settings, slot)
        try:
            return vars(bring(collection, list(wanted.embedded), cache))
        finally:
            collection.close()
            cache.close()

    def publish(self, wanted: Wanted, slot: str) -> None:
        from assets.knowledge.build import build_index, switch
        from serving.retrieval import servers
        from serving.retrieval.bolt import READ_SECONDS

        index = build_index(wanted, self.graph, self.words, self.settings)
        servers.bound(self.settings, slot, READ_SECONDS)
        switch(wanted, slot, index, self.settings)

    def brought(self, slot: str, seconds: dict[str, float]) -> tuple[Wanted, dict[str, Any]]:
        """Everything that ``make knowledge`` does, into one copy; and what was written."""
        from assets.knowledge.staged import keep

        with _timed(seconds, "gather"):
            wanted = self.gather().wanted
        with _timed(seconds, "check"):
            self.checked(wanted)
            keep(wanted, self.settings)
        with _timed(seconds, "graph"):
            graph = self.to_graph(wanted, slot)
        with _timed(seconds, "vectors"):
            vectors = self.to_vectors(wanted, slot)
        with _timed(seconds, "index"):
            self.publish(wanted, slot)
        return wanted, {"graph": graph, "vectors": vectors}


def rebuild() -> dict[str, Any]:
    """All of it into empty stores, published: seconds by step, what was written, elements by what they are."""
    from serving.retrieval.embedding import embedder

    known = Knowledge()
    embedder(known.settings.embeddings).questions(["the model is loaded"])
    seconds: dict[str, float] = {}
    _rest()
    wanted, written = known.brought(REBUILT, seconds)
    return {"seconds": seconds, "written": written, "counts": wanted.counts(), "version": wanted.version}


def one_month() -> dict[str, Any]:
    """The other copy as before one month and a hundred documents, then brought to all of it, seconds by step.

    The first, into an empty collection, also gives the rate of passages whose vectors are known.
    """
    known = Knowledge()
    before = _without(known)
    known.to_graph(before, CHANGED)
    first: dict[str, float] = {}
    with _timed(first, "vectors"):
        held = known.to_vectors(before, CHANGED)
    _forget(known.settings, before, known.graph)
    known.publish(before, CHANGED)
    for folder in (known.settings.knowledge / "indexes").iterdir():
        if folder.name != before.version:
            shutil.rmtree(folder)
    seconds: dict[str, float] = {}
    _rest()
    _, written = known.brought(CHANGED, seconds)
    return {"seconds": seconds, "written": written, "known": held, "known_seconds": first["vectors"]}


def _without(known: Knowledge) -> Wanted:
    """What was wanted before one month's flights and some documents came."""
    from assets.knowledge.communities import community_parts
    from assets.knowledge.staged import Wanted, unique

    found = known.gather(without=MONTH).wanted
    parts = [part for part in found.parts if not part.name.startswith("communities/")]
    documents = sorted(
        (node.uid for part in parts for node in part.nodes if part.name.startswith(f"documents/{SOURCE}/")),
        key=lambda uid: hashlib.sha256(f"later {uid}".encode()).hexdigest(),
    )
    later = set(documents[:DOCUMENTS])
    kept = [_less(part, later) for part in parts]
    return Wanted(unique([*kept, *community_parts(kept)]), found.embeddings)


def _less(part: Part, gone: set[str]) -> Part:
    return replace(
        part,
        nodes=tuple(node for node in part.nodes if node.uid not in gone),
        relations=tuple(one for one in part.relations if one.source not in gone and one.target not in gone),
        passages=tuple(passage for passage in part.passages if passage.document not in gone),
    )


def _forget(settings: Settings, kept: Wanted, graph: GraphFile) -> None:
    """Leave in the caches only what is kept, so that what comes is cut, read and embedded."""
    from assets.knowledge.cache import Cache
    from assets.knowledge.named import NAMES, Named
    from assets.knowledge.vectors import text_of
    from serving.retrieval.elements import digest
    from serving.retrieval.embedding import embedder

    name = embedder(kept.embeddings).name
    with Cache(settings.knowledge / "embedded.db") as cache:
        cache.retain({digest(name, text_of(passage)) for passage in kept.embedded})
    made = ("documents/", "communities/")
    things = [node for part in kept.parts if not part.name.startswith(made) for node in part.nodes]
    named = Named(things, graph.extract.codes)
    with Cache(settings.knowledge / "named.db") as cache:
        before = cache.count()
        cache.retain({NAMES, *(named.key(passage.text) for passage in kept.passages)})
        assert 0 < cache.count() < before
    documents = {passage.document.partition(":")[2] for passage in kept.passages}
    with sqlite3.connect(settings.knowledge / "passages.db") as connection:
        held = [(key, json.loads(value)[0][1].partition(":")[2]) for key, value in
                connection.execute("select key, value from kept")]  # fmt: skip
        connection.executemany(
            "delete from kept where key = ?", [(k,) for k, document in held if document not in documents]
        )
