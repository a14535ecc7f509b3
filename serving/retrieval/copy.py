"""One copy of the graph as the loader writes it: elements by kind and predicate, grouped in parts.

A part is what is loaded as one: a partition of a table, a document. The graph holds a node ``Part`` for each, with the
digest of what it was made from. The digest is taken away before the part's elements are touched and written again after
them, so that a load that was killed anywhere is seen and finished by the next.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import ClearwayError
from serving.retrieval.bolt import Graph, batches
from serving.retrieval.elements import Node, Relation, digest

NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,62}$")
PART = "Part"


@dataclass(frozen=True, slots=True)
class Held:
    """A part as a copy holds it; no digest when it is not whole."""

    digest: str | None
    kinds: tuple[str, ...]
    predicates: tuple[str, ...]


def checked(name: str) -> str:
    """A kind or predicate as it may stand in Cypher, where neither can be a parameter.

    Raises:
        ClearwayError: it is no identifier.
    """
    if not NAME.match(name):
        raise ClearwayError(f"{name!r} is no name of a kind or a predicate: letters, digits and '_'", untouched="all.")
    return name


def kind_of(uid: str) -> str:
    """The kind that a uid begins with: ``Pump:7`` is a Pump."""
    return uid.partition(":")[0]


class Copy:
    """Writes and compares one copy of the graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._ready: set[str] = set()

    def prepare(self, kinds: Iterable[str]) -> None:
        """Make each kind and its unique uid, where they are not."""
        for kind in [PART, *kinds]:
            if kind not in self._ready:
                self.graph.define(
                    f"CREATE CONSTRAINT {checked(kind)}_uid IF NOT EXISTS FOR (n:{kind}) REQUIRE n.uid IS UNIQUE"
                )
                self._ready.add(kind)

    def parts(self) -> dict[str, Held]:
        """The parts that there are, by name."""
        self.prepare(())
        rows = self.graph.read(
            f"MATCH (p:{PART}) RETURN p.uid AS uid, p.digest AS digest, p.kinds AS kinds, p.predicates AS predicates",
            seconds=120,
        )
        return {
            row["uid"]: Held(row["digest"] or None, tuple(row["kinds"] or ()), tuple(row["predicates"] or ()))
            for row in rows
        }

    def mark(self, parts: Mapping[str, Held]) -> None:
        """Say of parts what they are made of and, by a digest, that they are whole."""
        rows = [
            {
                "uid": name,
                "digest": held.digest or "",
                "kinds": sorted(set(held.kinds)),
                "predicates": sorted(set(held.predicates)),
            }
            for name, held in parts.items()
        ]
        for some in batches(rows):
            self.graph.write(
                f"UNWIND $rows AS row MERGE (p:{PART} {{uid: row.uid}}) "
                "SET p.digest = row.digest, p.kinds = row.kinds, p.predicates = row.predicates",
                {"rows": some},
            )

    def remove_parts(self, names: Sequence[str]) -> None:
        """Forget parts whose elements are gone."""
        for some in batches(names):
            self.graph.write(f"MATCH (p:{PART}) WHERE p.uid IN $uids DELETE p", {"uids": list(some)})

    def nodes(self, kind: str, parts: Sequence[str] | None = None) -> dict[str, str]:
        """Digests of the nodes of a kind by uid; of some parts, or of all."""
        if kind not in self._held("node"):
            return {}
        where = "WHERE n.part IN $parts " if parts is not None else ""
        query = f"MATCH (n:{checked(kind)}) {where}RETURN n.uid AS uid, n.digest AS digest"
        return {row["uid"]: row["digest"] for row in self.graph.read(query, {"parts": list(parts or ())}, seconds=300)}

    def relations(self, predicate: str, parts: Sequence[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """``(digest, source, target)`` of the relations of a predicate by uid; of some parts, or of all."""
        if predicate not in self._held("relation"):
            return {}
        where = "WHERE r.part IN $parts " if parts is not None else ""
        query = (
            f"MATCH (a)-[r:{checked(predicate)}]->(b) {where}"
            "RETURN r.uid AS uid, r.digest AS digest, a.uid AS source, b.uid AS target"
        )
        rows = self.graph.read(query, {"parts": list(parts or ())}, seconds=300)
        return {row["uid"]: (row["digest"], row["source"], row["target"]) for row in rows}

    def _held(self, what: str) -> set[str]:
        """Kinds or predicates that the copy has or may have: ArcadeDB refuses to match a name that it never met."""
        query = "CALL db.labels()" if what == "node" else "CALL db.relationshipTypes()"
        column = "label" if what == "node" else "relationshipType"
        return {str(row[column]) for row in self.graph.read(query)}

    def remove_nodes(self, kind: str, uids: Sequence[str]) -> None:
        for rows in batches(uids):
            self.graph.write(f"MATCH (n:{checked(kind)}) WHERE n.uid IN $uids DETACH DELETE n", {"uids": list(rows)})

    def remove_relations(self, predicate: str, ends: Sequence[tuple[str, str, str]]) -> None:
        """Remove relations given as ``(uid, source, target)``."""
        for (a, b), found in _by_ends((uid, source, target) for uid, source, target in ends).items():
            for rows in batches(found):
                self.graph.write(
                    f"UNWIND $rows AS row MATCH (a:{a} {{uid: row.source}})-[r:{checked(predicate)}]->"
                    f"(b:{b} {{uid: row.target}}) WHERE r.uid = row.uid DELETE r",
                    {"rows": [{"uid": u, "source": s, "target": t} for u, s, t in rows]},
                )

    def put_nodes(self, nodes: Mapping[str, Sequence[Node]]) -> None:
        """Create nodes, given by part, or give those there are exactly these properties."""
        by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for part, some in nodes.items():
            for node in some:
                by_kind[node.kind].append({**node.row(), "part": part, "digest": node_digest(part, node)})
        for kind, rows in by_kind.items():
            for batch in batches(rows):
                self.graph.write(
                    f"UNWIND $rows AS row MERGE (n:{checked(kind)} {{uid: row.uid}}) SET n = row", {"rows": batch}
                )

    def put_relations(self, relations: Mapping[str, Sequence[Relation]]) -> None:
        """Create relations, given by part, that are not there.

        Those whose end is missing are not created: see :meth:`relations`.
        """
        by: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
        for part, one in ((part, one) for part, several in relations.items() for one in several):
            properties = {
                **one.properties, "uid": one.uid, "access": one.access, "part": part,
                "digest": relation_digest(part, one),
            }  # fmt: skip
            row = {"source": one.source, "target": one.target, "properties": properties}
            by[kind_of(one.source), one.predicate, kind_of(one.target)].append(row)
        # In one order: that in which a store gives relations must not tell of those that a reader may not see.
        for (a, predicate, b), rows in sorted(by.items()):
            for some in batches(rows):
                self.graph.write(
                    f"UNWIND $rows AS row MATCH (a:{checked(a)} {{uid: row.source}}), (b:{checked(b)} "
                    f"{{uid: row.target}}) CREATE (a)-[r:{checked(predicate)}]->(b) SET r = row.properties",
                    {"rows": some},
                )


def _by_ends(rows: Iterable[tuple[str, str, str]]) -> Mapping[tuple[str, str], list[tuple[str, str, str]]]:
    by: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for row in rows:
        by[checked(kind_of(row[1])), checked(kind_of(row[2]))].append(row)
    return by


def node_digest(part: str, node: Node) -> str:
    return digest(part, node.kind, node.row())


def relation_digest(part: str, one: Relation) -> str:
    return digest(part, one.uid, dict(one.properties), one.access)
