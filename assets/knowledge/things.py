"""Nodes and relations of the marts, by declared queries, in parts; and what must hold of all parts together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assets.knowledge.spec import GraphFile
from serving.errors import ClearwayError
from serving.retrieval.access import joined, split
from serving.retrieval.elements import Node, Part, Relation, Scalar

if TYPE_CHECKING:
    import duckdb

# Columns with a meaning of their own.
_OWN = frozenset(("id", "name", "aliases", "part", "source", "target", "key"))


def scalar(value: Any) -> Scalar | None:
    """A value as a graph keeps it; None where there is none. Times are ISO 8601, so that they sort as they follow."""
    match value:
        case None:
            return None
        case bool() | int() | str():
            return value
        case float():
            return round(value, 6) if math.isfinite(value) else None
        case Decimal():
            return float(value)
        case datetime() | date():
            return value.isoformat()
    return str(value)


def mart_parts(graph: GraphFile, connection: duckdb.DuckDBPyConnection) -> list[Part]:
    """One part for each kind or predicate and partition.

    Raises:
        ClearwayError: a query fails, lacks a column, or gives an empty or repeated id.
    """
    parts: list[Part] = []
    for kind, things in graph.kinds.items():
        access = joined(things.labels)
        nodes: dict[str, list[Node]] = defaultdict(list)
        for row in _rows(connection, f"kinds.{kind}", things.sql, ("id", "name")):
            nodes[_part(kind, row)].append(_node(kind, row, access))
        parts += [Part(name, nodes=tuple(some)) for name, some in sorted(nodes.items())]
    for predicate, declared in graph.relations.items():
        access = joined(declared.labels)
        found: dict[str, list[Relation]] = defaultdict(list)
        for row in _rows(connection, f"relations.{predicate}", declared.sql, ("source", "target")):
            source, target = f"{declared.source}:{row['source']}", f"{declared.target}:{row['target']}"
            one = Relation(source, predicate, target, _properties(row), str(row.get("key") or ""), access)
            found[_part(predicate, row)].append(one)
        parts += [Part(name, relations=tuple(some)) for name, some in sorted(found.items())]
    return parts


def _rows(
    connection: duckdb.DuckDBPyConnection, where: str, sql: str, needed: Sequence[str]
) -> Iterable[dict[str, Any]]:
    import duckdb

    try:
        cursor = connection.execute(sql)
    except duckdb.Error as error:
        raise ClearwayError(
            f"ontology/graph.yaml: field {where}.sql: {str(error)[:400]}",
            untouched="what is published.",
            todo="mend the query, or build the warehouse.",
        ) from error
    columns = [column[0] for column in cursor.description or ()]
    if missing := [name for name in needed if name not in columns]:
        raise ClearwayError(
            f"ontology/graph.yaml: field {where}.sql: gives no column {', '.join(missing)}, only {', '.join(columns)}",
            untouched="what is published.",
            todo="name the columns.",
        )
    for values in cursor.fetchall():
        row = dict(zip(columns, values, strict=True))
        if empty := [name for name in needed if row[name] in (None, "")]:
            raise ClearwayError(
                f"ontology/graph.yaml: field {where}.sql: a row without {', '.join(empty)}: {row}",
                untouched="what is published.",
                todo="leave such rows out in the query, or mend the mart.",
            )
        yield row


def _part(name: str, row: Mapping[str, Any]) -> str:
    part = row.get("part")
    return name if part is None else f"{name}/{part}"


def _properties(row: Mapping[str, Any]) -> dict[str, Scalar]:
    made = {name: scalar(value) for name, value in row.items() if name not in _OWN}
    return {name: value for name, value in made.items() if value is not None}


def _node(kind: str, row: Mapping[str, Any], access: str) -> Node:
    aliases = tuple(dict.fromkeys(str(one) for one in row.get("aliases") or () if one))
    return Node(f"{kind}:{row['id']}", kind, str(row["name"]), _properties(row), aliases, access)


def check(parts: Sequence[Part]) -> list[str]:
    """What does not hold of the parts together: each a sentence. Empty when all does.

    Uids are of one node, relations of one pair; both ends of a relation exist; nothing is shown to somebody who may not
    see what it is made of: a relation asks for the labels of its ends, a passage for those of its document.
    """
    problems: list[str] = []
    access: dict[str, str] = {}
    for part in parts:
        for node in part.nodes:
            if node.uid in access:
                problems.append(f"{part.name}: {node.uid} exists twice")
            if node.uid.partition(":")[0] != node.kind:
                problems.append(f"{part.name}: {node.uid} is no uid of a {node.kind}")
            access[node.uid] = node.access
    relations: set[str] = set()
    for part in parts:
        for one in part.relations:
            if one.uid in relations:
                problems.append(f"{part.name}: {one.source} {one.predicate} {one.target} {one.key} exists twice")
            relations.add(one.uid)
            for end in (one.source, one.target):
                if end not in access:
                    problems.append(f"{part.name}: {one.source} {one.predicate} {one.target}: there is no {end}")
                elif not split(access[end]) <= split(one.access):
                    problems.append(f"{part.name}: {one.source} {one.predicate} {one.target}: labels of {end} missing")
        for passage in part.passages:
            if passage.document not in access:
                problems.append(f"{part.name}: passage {passage.uid}: there is no {passage.document}")
            elif not split(access[passage.document]) <= split(passage.access):
                problems.append(f"{part.name}: passage {passage.uid}: labels of {passage.document} missing")
    return problems
