"""What the knowledge is to hold, from marts, the project, and documents; and its publishing, by one switch."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from assets.domains import Domain
from assets.knowledge import staged
from assets.knowledge.cache import Cache
from assets.knowledge.communities import KIND as COMMUNITY
from assets.knowledge.communities import community_parts
from assets.knowledge.documents.collect import Problem, collect
from assets.knowledge.documents.document import Document
from assets.knowledge.documents.own import collect_own
from assets.knowledge.documents.spec import document_sources
from assets.knowledge.extract import Proposals, through_gateway
from assets.knowledge.linked import Caches, document_parts
from assets.knowledge.ontology import exported
from assets.knowledge.ontology.vocabulary import Vocabulary
from assets.knowledge.paused import collection_paused
from assets.knowledge.platform import platform_parts
from assets.knowledge.spec import GraphFile
from assets.knowledge.staged import Wanted
from assets.knowledge.things import check, mart_parts
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError
from serving.faults import boundary
from serving.retrieval.elements import Part
from serving.retrieval.opened import PASSAGES, QUERIES, REPORTS
from serving.retrieval.published import Published, current, publish
from serving.semantics.catalogue import load_catalogue
from serving.settings import Settings

if TYPE_CHECKING:
    import duckdb

Tell = Callable[[str], None]


@dataclass
class Gathered:
    """What is wanted, and what is to be told about it."""

    wanted: Wanted
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]
    resolved: Counter[str] = field(default_factory=Counter)
    unresolved: dict[str, Counter[str]] = field(default_factory=dict)


@collection_paused()
def gather(
    domain: Domain,
    graph: GraphFile,
    manifest: Manifest,
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    tell: Tell = lambda _: None,
) -> Gathered:
    """Read everything that the knowledge is made of.

    Raises:
        ClearwayError: a declared query fails, or the parts do not fit each other; broken documents are problems.
    """
    from serving.retrieval.embedding import count_tokens

    catalogue = load_catalogue(manifest.folder / "semantic_manifest.json")
    things = [*mart_parts(graph, connection), *platform_parts(domain, manifest, catalogue, settings)]
    tell(f"{sum(len(part.nodes) for part in things)} things of the marts and the project")
    found = collect(settings.landing, list(document_sources(domain.folder).values()))
    documents = [*found.documents, *collect_own(settings, domain, manifest)]
    nodes = [node for part in things for node in part.nodes]
    with (
        _proposals(graph, settings) as proposals,
        Cache(settings.knowledge / "passages.db") as passages,
        Cache(settings.knowledge / "named.db") as named,
    ):
        caches = Caches(passages, named)
        linked = document_parts(documents, nodes, graph.documents, count_tokens, graph.extract, proposals, caches)
    tell(f"{len(documents)} documents, {sum(len(p.passages) for p in linked.parts)} passages")
    parts = [*things, *linked.parts]
    parts += community_parts(parts)
    tell(f"{sum(n.kind == COMMUNITY for p in parts for n in p.nodes)} communities")
    if problems := check(parts):
        raise ClearwayError(
            "the graph's parts do not fit each other:\n" + "\n".join(f"  {p}" for p in problems[:20]),
            untouched="what is published.",
            todo="mend the queries in ontology/graph.yaml, or the marts they read.",
        )
    lost = [Problem("", message) for message in linked.problems]
    wanted = Wanted(staged.unique(parts), settings.embeddings)
    return Gathered(wanted, tuple(documents), (*found.problems, *lost), linked.resolved, linked.unresolved)


@contextmanager
def _proposals(graph: GraphFile, settings: Settings) -> Iterator[Proposals | None]:
    """What the declared language model proposes; None where none is declared."""
    model = graph.extract.model
    if model is None:
        yield None
        return
    key = settings.extract_key.get_secret_value() if settings.extract_key else _local_key(settings)
    ask = through_gateway(settings.gateway_url, key, model)
    made = Proposals(settings.knowledge / "proposals.db", model, graph.extract, list(graph.kinds), ask)
    try:
        yield made
        made.retain()
    finally:
        made.close()


def _local_key(settings: Settings) -> str:
    file = settings.home / "local.key"
    try:
        return file.read_text().strip()
    except OSError as error:
        raise ClearwayError(
            f"a model is declared to read documents, and there is no key for it: {error}",
            untouched="what is published.",
            todo="set CLEARWAY_EXTRACT_KEY to a key of the gateway with the scope predict.",
        ) from error


def properties(parts: Sequence[Part]) -> dict[str, set[str]]:
    """Names of properties in use, by kind and predicate."""
    used: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for node in part.nodes:
            used[node.kind].update(node.properties)
        for one in part.relations:
            used[one.predicate].update(one.properties)
    return dict(used)


@collection_paused()
def build_index(wanted: Wanted, graph: GraphFile, words: Vocabulary, settings: Settings) -> str:
    """Write a version's index, reports, declared queries and RDF aside; gives the folder's name.

    Raises:
        ClearwayError: the disk refuses it.
    """
    from serving.retrieval.ranking.index import Index

    folder = settings.knowledge / "indexes" / wanted.version
    if (folder / "complete").exists():
        return folder.name
    shutil.rmtree(folder, ignore_errors=True)
    published = current(settings)
    before = settings.knowledge / "indexes" / published.index if published is not None else None
    try:
        folder.mkdir(parents=True)
        nodes = [n for n in wanted.nodes if n.kind != COMMUNITY]
        uids = {n.uid for n in nodes}
        relations = [r for r in wanted.relations if r.target in uids]
        with ThreadPoolExecutor(1) as beside:
            # The RDF store is filled outside of Python's lock, while the index is built within it.
            rdf = beside.submit(exported.build, wanted.parts, words, folder, before)
            Index.build(list(wanted.embedded), nodes, relations).save(folder / PASSAGES)
            Index.build(list(wanted.reports)).save(folder / REPORTS)
            (folder / QUERIES).write_bytes(orjson.dumps([q.model_dump(mode="json") for q in graph.queries]))
            rdf.result()
        boundary("index:written")
        (folder / "complete").touch()
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ClearwayError(
            f"{folder} cannot be written: {error}", untouched="what is published.", todo="free the disk, run again."
        ) from error
    return folder.name


def switch(wanted: Wanted, slot: str, index: str, settings: Settings) -> Published:
    """Let all readers have a version; older indexes than the one before are removed.

    Raises:
        ClearwayError: the pointer cannot be written.
    """
    before = current(settings)
    now = Published(
        wanted.version, slot, index, wanted.accesses, wanted.embeddings, time.time(), wanted.counts(),
        {"version": before.version, "index": before.index} if before is not None else {},
    )  # fmt: skip
    boundary("publish:before")
    publish(now, settings)
    boundary("publish:after")
    kept = {index, before.index if before is not None else index}
    for folder in _folders(settings.knowledge / "indexes"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    return now


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()] if folder.exists() else []
