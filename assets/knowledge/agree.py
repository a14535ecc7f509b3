"""Whether graph, vectors and marts hold what is wanted, id by id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets.knowledge.spec import GraphFile
from assets.knowledge.staged import Wanted
from assets.knowledge.things import mart_parts
from assets.knowledge.vectors import row_digest
from serving.retrieval.copy import Copy
from serving.retrieval.vectors import Vectors

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Disagreement:
    """One store that does not hold what is wanted."""

    store: str
    what: str
    count: int
    examples: tuple[str, ...] = ()


def compare(wanted: Wanted, copy: Copy, collection: Vectors, model: str, *, deep: bool = False) -> list[Disagreement]:
    """How graph and vectors differ from what is wanted: by parts and passages, or, ``deep``, by every id.

    Raises:
        ClearwayError: a store does not answer.
    """
    found: list[Disagreement] = []
    held = copy.parts()
    parts = {part.name: part for part in wanted.parts}
    wrong = [name for name, part in parts.items() if name not in held or held[name].digest != part.digest]
    found += _differ("graph", "parts that are not as wanted", wrong)
    found += _differ("graph", "parts that are not wanted", [name for name in held if name not in parts])
    if deep:
        found += _deep(wanted, copy)
    rows = collection.held()
    passages = {p.uid: row_digest(p, model) for p in wanted.embedded}
    found += _differ("vectors", "passages that are missing", [u for u in passages if u not in rows])
    found += _differ("vectors", "passages that are not wanted", [u for u in rows if u not in passages])
    stale = [u for u, value in passages.items() if u in rows and rows[u] != value]
    return found + _differ("vectors", "passages that are of another text or access", stale)


def _deep(wanted: Wanted, copy: Copy) -> list[Disagreement]:
    found: list[Disagreement] = []
    nodes: dict[str, set[str]] = defaultdict(set)
    for node in wanted.nodes:
        nodes[node.kind].add(node.uid)
    for kind, uids in sorted(nodes.items()):
        held = set(copy.nodes(kind))
        found += _differ("graph", f"{kind} nodes that are missing", sorted(uids - held))
        found += _differ("graph", f"{kind} nodes that are not wanted", sorted(held - uids))
    relations: dict[str, set[str]] = defaultdict(set)
    for one in wanted.relations:
        relations[one.predicate].add(one.uid)
    for predicate, uids in sorted(relations.items()):
        held = set(copy.relations(predicate))
        found += _differ("graph", f"{predicate} relations that are missing", sorted(uids - held))
        found += _differ("graph", f"{predicate} relations that are not wanted", sorted(held - uids))
    return found


def _differ(store: str, what: str, uids: Sequence[str]) -> list[Disagreement]:
    return [Disagreement(store, what, len(uids), tuple(uids[:5]))] if uids else []


def behind(graph: GraphFile, connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> list[Disagreement]:
    """How the things that are wanted differ from those of the marts as they are now.

    Raises:
        ClearwayError: a declared query fails.
    """
    found: list[Disagreement] = []
    now: dict[str, set[str]] = defaultdict(set)
    for part in mart_parts(graph, connection):
        for node in part.nodes:
            now[node.kind].add(node.uid)
    kept: dict[str, set[str]] = defaultdict(set)
    for node in wanted.nodes:
        if node.kind in graph.kinds:
            kept[node.kind].add(node.uid)
    for kind in sorted(graph.kinds):
        found += _differ("marts", f"{kind} rows that are not published", sorted(now[kind] - kept[kind]))
        found += _differ("marts", f"{kind} things that have no row any more", sorted(kept[kind] - now[kind]))
    return found
