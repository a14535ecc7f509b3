"""The published version, opened: its index, declared queries, and clients of its copies of graph and vectors."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import orjson

from serving.errors import ClearwayError
from serving.retrieval import servers
from serving.retrieval.bolt import Graph
from serving.retrieval.embedding import embedder
from serving.retrieval.guarded import DeclaredQuery
from serving.retrieval.naming import Names
from serving.retrieval.published import Published, current, pointer
from serving.retrieval.ranking.index import Index
from serving.retrieval.structured import Phrases
from serving.retrieval.vectors import Vectors
from serving.settings import Settings

# As assets.knowledge.build writes a version's folder.
QUERIES, PASSAGES, REPORTS = "queries.json", "passages", "reports"


class NotPublished(ClearwayError):
    """There is no knowledge yet."""


@dataclass
class Version:
    """One published version, opened."""

    published: Published
    index: Index
    reports: Index
    queries: dict[str, DeclaredQuery]
    phrases: Phrases
    names: Names
    folder: Path
    graph: Graph
    vectors: Vectors


class Versions:
    """Opens what the pointer names, and opens anew when it changes; safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._mark: tuple[int, int] | None = None
        self._open: Version | None = None

    def current(self) -> Version:
        """The version that is published now.

        Raises:
            NotPublished: none is.
            ClearwayError: its index is broken.
        """
        try:
            stat = pointer(self.settings).stat()
        except FileNotFoundError as error:
            raise NotPublished("no knowledge is published yet", todo="make knowledge") from error
        mark = (stat.st_ino, stat.st_mtime_ns)
        with self._lock:
            if self._open is None or mark != self._mark:
                published = current(self.settings)
                if published is None:
                    raise NotPublished("no knowledge is published yet", todo="make knowledge")
                self._open, self._mark = opened(published, self.settings), mark
            return self._open


def opened(published: Published, settings: Settings) -> Version:
    """Load a version's folder.

    Raises:
        ClearwayError: a file of it is missing or broken.
    """
    folder = published.folder(settings)
    try:
        declared = [DeclaredQuery.model_validate(q) for q in orjson.loads((folder / QUERIES).read_bytes())]
    except (OSError, ValueError) as error:
        raise ClearwayError(
            f"{folder / QUERIES} cannot be read: {error}", untouched="the stores.", todo="make knowledge"
        ) from error
    model = embedder(published.embeddings)
    index = Index.load(folder / PASSAGES)
    return Version(
        published,
        index,
        Index.load(folder / REPORTS),
        {query.name: query for query in declared},
        Phrases(declared, model.questions),
        Names(
            index.elements.nodes,
            index.elements.relations,
            {p.kind for q in declared for p in q.parameters.values() if p.kind},
        ),
        folder,
        servers.graph(settings, published.slot),
        servers.vectors(settings, published.slot),
    )
