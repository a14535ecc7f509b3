"""What the graph's server must do, whichever it is: the embedded one, or that of CLEARWAY_TEST_BOLT_URL.

Another server, such as Neo4j, is tested by CLEARWAY_TEST_BOLT_URL=bolt://host:7687/neo4j, with _USER and _PASSWORD for
_URL; its database is emptied.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from serving.retrieval import servers
from serving.retrieval.bolt import Graph, GraphFault
from serving.retrieval.copy import Copy, checked
from serving.retrieval.elements import Node, Relation
from serving.retrieval.guarded import guard
from serving.settings import Settings
from tests import bolt_url
from tests.knowledge import at, empty, pump, site

pytestmark = pytest.mark.integration


@pytest.fixture
def copy(request: pytest.FixtureRequest) -> Iterator[Copy]:
    given = bolt_url.given()
    if given is not None:
        graph = Graph(*given)
    else:
        settings: Settings = request.getfixturevalue("stores")
        graph = servers.graph(settings, "a")
    empty(graph)
    made = Copy(graph)
    made.prepare(["Pump", "Site"])
    yield made
    empty(graph)
    graph.close()


def rows(copy: Copy, query: str, **parameters: Any) -> list[dict[str, Any]]:
    return copy.graph.read(query, parameters)


def test_elements_come_back_as_they_went(copy: Copy) -> None:
    value = {"text": 'it\'s "so" ✓ 펌프 \n\\', "whole": 7, "real": 0.5, "yes": True}
    copy.put_nodes({"p": [Node("Pump:1", "Pump", "pump 1", value, ("one", "eins"), "a|b"), site("x")]})
    copy.put_relations({"p": [Relation("Pump:1", "AT", "Site:x", {"litres": 1.25}, "k", "a|b")]})
    (node,) = rows(copy, "MATCH (n:Pump) RETURN properties(n) AS p")
    digest = node["p"].pop("digest")
    assert node["p"] == {
        "uid": "Pump:1", "name": "pump 1", "access": "a|b", "aliases": ["one", "eins"], "part": "p", **value,
    }  # fmt: skip
    assert copy.nodes("Pump") == {"Pump:1": digest}
    (relation,) = rows(copy, "MATCH (a)-[r:AT]->(b) RETURN properties(r) AS p, a.uid AS a, b.uid AS b")
    assert (relation["a"], relation["b"]) == ("Pump:1", "Site:x")
    assert relation["p"]["litres"] == 1.25


def test_a_node_put_again_loses_what_it_no_longer_has(copy: Copy) -> None:
    copy.put_nodes({"p": [pump(1, litres=5), site("x")]})
    copy.put_relations({"p": [at(1, "x")]})
    copy.put_nodes({"p": [pump(1, colour="red")]})
    (row,) = rows(copy, "MATCH (n:Pump)-[r:AT]->(s) RETURN n.litres AS litres, n.colour AS colour, s.uid AS site")
    assert row == {"litres": None, "colour": "red", "site": "Site:x"}


def test_uids_are_unique(copy: Copy) -> None:
    copy.put_nodes({"p": [pump(1)]})
    with pytest.raises(GraphFault):
        copy.graph.write("CREATE (n:Pump {uid: 'Pump:1'})")
    assert len(copy.nodes("Pump")) == 1


def test_removal_takes_exactly_what_is_named(copy: Copy) -> None:
    copy.put_nodes({"p": [pump(n) for n in range(5)] + [site("x"), site("y")]})
    copy.put_relations({"p": [at(n, "x") for n in range(5)] + [at(0, "y"), at(0, "x", key="again")]})
    copy.remove_relations("AT", [(one.uid, one.source, one.target) for one in (at(0, "x"), at(1, "x"))])
    assert set(copy.relations("AT")) == {at(n, "x").uid for n in (2, 3, 4)} | {
        at(0, "y").uid,
        at(0, "x", key="again").uid,
    }
    copy.remove_nodes("Pump", ["Pump:2", "Pump:9"])
    assert set(copy.nodes("Pump")) == {f"Pump:{n}" for n in (0, 1, 3, 4)}
    assert at(2, "x").uid not in copy.relations("AT")


def test_a_name_that_is_cypher_is_refused_and_a_value_that_is_cypher_is_a_value(copy: Copy) -> None:
    hostile = "x'}) DETACH DELETE n //"
    copy.put_nodes({"p": [Node(f"Pump:{hostile}", "Pump", hostile), pump(1)]})
    assert rows(copy, "MATCH (n:Pump {name: $name}) RETURN n.uid AS uid", name=hostile) == [{"uid": f"Pump:{hostile}"}]
    assert len(copy.nodes("Pump")) == 2
    for name in ("Pump) DETACH DELETE (n", "a b", "", "1a", "x" * 64):
        with pytest.raises(Exception, match="no name"):
            checked(name)


def test_filters_of_declared_queries_hold_in_every_clause(copy: Copy) -> None:
    copy.put_nodes({"p": [pump(1), pump(2, "secret"), pump(3), site("x"), site("hidden", "secret")]})
    copy.put_relations({"p": [at(1, "x"), at(2, "x", "secret"), at(3, "x", "secret"), at(1, "hidden", "secret")]})
    seen = guard(
        "MATCH (p:Pump)-[r:AT]->(s:Site) WHERE s.name = 'x' OR true RETURN p.uid AS p, s.uid AS s ORDER BY p, s"
    )
    assert rows(copy, seen, access=[""]) == [{"p": "Pump:1", "s": "Site:x"}]
    assert len(rows(copy, seen, access=["", "secret"])) == 4
    count = guard("MATCH (p:Pump) OPTIONAL MATCH (p)-[r:AT]->(s:Site) RETURN p.uid AS p, count(s) AS n ORDER BY p")
    assert rows(copy, count, access=[""]) == [{"p": "Pump:1", "n": 1}, {"p": "Pump:3", "n": 0}]
    path = guard("MATCH q = (p:Pump {uid: 'Pump:1'})-[:AT*1..2]-(o) RETURN o.uid AS o ORDER BY o")
    assert rows(copy, path, access=[""]) == [{"o": "Site:x"}]
    assert {r["o"] for r in rows(copy, path, access=["", "secret"])} >= {"Site:x", "Site:hidden", "Pump:3"}


@pytest.mark.timeout(120)
def test_a_query_that_would_not_end_is_ended_and_the_next_answers(copy: Copy, request: pytest.FixtureRequest) -> None:
    copy.put_nodes({"p": [pump(n) for n in range(300)]})
    if bolt_url.given() is None:
        settings = request.getfixturevalue("stores")
        servers.bound(settings, "a", 1)
        request.addfinalizer(lambda: servers.bound(settings, "a", 0))
    started = time.monotonic()
    with pytest.raises(GraphFault, match="ended after 1 s"):
        copy.graph.read(
            "MATCH (a:Pump), (b:Pump), (c:Pump), (d:Pump) WHERE a.uid <> b.uid RETURN sum(size(a.uid + d.uid)) AS n",
            seconds=1,
        )
    assert time.monotonic() - started < 20
    assert copy.graph.read("MATCH (n:Pump) RETURN count(n) AS n") == [{"n": 300}]


def test_rows_are_bounded(copy: Copy) -> None:
    copy.put_nodes({"p": [pump(n) for n in range(30)]})
    assert len(copy.graph.read("MATCH (n:Pump) RETURN n.uid AS uid", rows=7)) == 7


def test_a_server_that_is_away_is_named() -> None:
    with (
        Graph("bolt://127.0.0.1:1/knowledge_a", "root", "x") as graph,
        pytest.raises(GraphFault, match=r"127\.0\.0\.1:1"),
    ):
        graph.read("RETURN 1 AS one")
