"""Declared queries are tried in the copy before readers get it: made-up ones, and those of the project's own domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from assets.knowledge.load import bring
from assets.knowledge.spec import GraphFile, read_graph
from assets.knowledge.staged import Wanted
from assets.knowledge.tried import problems
from serving.retrieval.copy import Copy
from serving.retrieval.elements import Node, Part, Relation
from serving.retrieval.guarded import DeclaredQuery
from serving.settings import PROJECT, Settings
from tests.knowledge import at, emptied, part, pump, site

pytestmark = pytest.mark.integration
OWN = read_graph(PROJECT / "assets" / "domain")
assert OWN is not None
MATCH = "MATCH (p:Pump {uid: $pump})-[r:AT]->(s:Site)"


@pytest.fixture
def copy(stores: Settings) -> Iterator[Copy]:
    made = emptied(stores, "a")
    yield made
    made.graph.close()


def query(cypher: str, **declared: Any) -> DeclaredQuery:
    parameters = {"pump": {"description": "a pump", "kind": "Pump"}} if "$pump" in cypher else {}
    return DeclaredQuery.model_validate(
        {"name": "q", "description": "d", "cypher": cypher, "parameters": parameters, **declared}
    )


def test_a_query_that_does_not_run_or_lacks_a_column_is_named(copy: Copy) -> None:
    world = [part("p", [pump(1), pump(2), site("x")], [at(2, "x")])]
    bring(copy, world)
    wanted = Wanted(tuple(world), "english")

    def found(*some: DeclaredQuery) -> list[str]:
        return problems(some, wanted, copy.graph)

    good = query(f"{MATCH} RETURN s.name AS site, s.uid AS uid", cites=["uid"], heading="{rows}", answer="{site}")
    assert found(good, query(f"{MATCH} RETURN s.name AS site LIMIT 0", answer="{nothing}")) == []
    (lacking,) = found(query(f"{MATCH} RETURN s.name AS site", cites=["uid"], heading="{mean:litres:hours}"))
    assert lacking == (
        "ontology/queries/q.yaml: cites, answer and heading name hours, litres, uid; the query returns site"
    )
    broken = query(f"{MATCH} RETURN s.name AS site, count(r) AS many ORDER BY r.since")
    (failed, other) = found(broken, query("MATCH (p:Pump) RETURN nosuch(p.name) AS n"))
    assert failed.startswith("ontology/queries/q.yaml: cypher: ")
    assert other.startswith("ontology/queries/q.yaml: cypher: ")


def one_of_each(declared: GraphFile) -> list[Part]:
    """A node of each kind with whatever number or day a query may ask of it, and a relation of each declaration."""
    values: dict[str, Any] = {
        "date": "2010-01-01", "flights": 10, "arrivals": 8, "late": 4, "late_rate": 0.5, "mean_arrival_delay": 3.0,
        "arrival_delay_sum": 24.0, "year_built": 1999, "type": "accident", "code": "x", "stage": "stable",
    }  # fmt: skip
    platform = ("Table", "Metric", "Model", "ModelVersion", "Run", "Document")
    nodes = [Node(f"{kind}:1", kind, "one", values) for kind in (*declared.kinds, *declared.documents, *platform)]
    ends = [(name, one.source, one.target) for name, one in declared.relations.items()]
    ends += [(name, source, target) for name in declared.mentions for source in declared.documents
             for target in declared.kinds]  # fmt: skip
    ends += [("FEEDS", "Table", "Metric"), ("USES", "Model", "Metric"), ("VERSION_OF", "ModelVersion", "Model"),
             ("MADE_BY_RUN", "ModelVersion", "Run")]  # fmt: skip
    return [part("p", nodes, [Relation(f"{a}:1", name, f"{b}:1", values) for name, a, b in ends])]


@pytest.mark.parametrize("name", [one.name for one in OWN.queries])
def test_each_query_of_the_domain_runs_and_has_the_columns_it_tells(name: str, copy: Copy) -> None:
    assert OWN is not None
    world = one_of_each(OWN)
    bring(copy, world)
    (declared,) = [one for one in OWN.queries if one.name == name]
    assert problems([declared], Wanted(tuple(world), "english"), copy.graph) == []
    given = {n: f"{p.kind}:1" if p.kind else p.default for n, p in declared.parameters.items()}
    from serving.retrieval.guarded import guard

    assert copy.graph.read(guard(declared.cypher), {**given, "access": [""]}), "the world above has a row for each"
