"""Whether the declared queries run in a copy and give the columns that their sentences name, before readers get it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from assets.knowledge.staged import Wanted
from serving.errors import ClearwayError
from serving.retrieval.bolt import Graph
from serving.retrieval.guarded import DeclaredQuery, Parameter, guard
from serving.retrieval.telling import columns

# So many things of each kind are tried, until one gives rows.
TRIED = 5
_ANY = {"string": "x", "integer": 1, "number": 1.0, "date": "2000-01-01", "strings": ["x"]}


def problems(queries: Sequence[DeclaredQuery], wanted: Wanted, graph: Graph) -> list[str]:
    """What is wrong with queries: each a sentence that names the query. Empty when all run."""
    return [problem for query in queries for problem in _problems(query, wanted, graph)]


def _problems(query: DeclaredQuery, wanted: Wanted, graph: Graph) -> Iterator[str]:
    named = {*query.cites, *columns(query.answer or ""), *columns(query.heading or "")} - {"rows"}
    things = {name: _things(wanted, one.kind) for name, one in query.parameters.items() if one.kind}
    for number in range(TRIED if things else 1):
        given = {name: _value(one, things.get(name, []), number) for name, one in query.parameters.items()}
        try:
            rows = graph.read(guard(query.cypher), {**given, "access": list(wanted.accesses)}, rows=1)
        except ClearwayError as error:
            yield f"ontology/queries/{query.name}.yaml: cypher: {error.what}"
            return
        if rows:
            if missing := sorted(named - set(rows[0])):
                yield (
                    f"ontology/queries/{query.name}.yaml: cites, answer and heading name {', '.join(missing)}; "
                    f"the query returns {', '.join(rows[0])}"
                )
            return


def _things(wanted: Wanted, kind: str) -> list[str]:
    return [node.uid for node in islice((n for n in wanted.nodes if n.kind == kind), TRIED)]


def _value(one: Parameter, things: Sequence[str], number: int) -> Any:
    if things:
        return things[number % len(things)]
    return one.default if one.default is not None else _ANY[one.type]
