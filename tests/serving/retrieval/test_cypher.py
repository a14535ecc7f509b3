"""What of Cypher may be sent, and the filters that declared queries get."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from serving.errors import ClearwayError
from serving.retrieval.cypher import MAX_LENGTH, CypherRefused, check_reads
from serving.retrieval.guarded import DeclaredQuery, guard, values


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("MATCH (n) SET n.x = 1", "SET"),
        ("MATCH (n) DETACH DELETE n", "DETACH"),
        ("match (n) /* x */ delete n", "delete"),
        ("CREATE (n:Pump)", "begins with"),
        ("CALL db.labels()", "begins with"),
        ("MATCH (n) CALL { MATCH (m) RETURN m } RETURN n", "CALL"),
        ("MATCH (n) FOREACH (x IN [1] | SET n.x = x)", "FOREACH"),
        ("LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row", "begins with"),
        ("MATCH (a)-[*]->(b) RETURN a", "no upper bound"),
        ("MATCH (a)-[:X*2..]->(b) RETURN a", "no upper bound"),
        ("MATCH (a)-[r:X|Y*..9]->(b) RETURN a", "9 hops"),
        ("MATCH (a)-[*5]->(b) RETURN a", "5 hops"),
        ("MATCH (a)-[:X]->+(b) RETURN a", "no upper bound"),
        ("MATCH (a) ((x)-[:X]->(y)){1,9} (b) RETURN a", "hops"),
        ("MATCH (a) ((x)-[:X]->(y)){1,} (b) RETURN a", "hops"),
        ("MATCH p = shortestPath((a)-[*]->(b)) RETURN p", "no upper bound"),
        ("MATCH (a) RETURN a; MATCH (b) DELETE b", "';'"),
        ("MATCH (a) RETURN apoc.load.json('http://x')", "no function"),
        ("MATCH (a) RETURN `apoc`.`x`(a)", "no function"),
        ("MATCH (a) RETURN 'x", "cannot be read"),
        ("", "empty"),
        ("  // nothing", "empty"),
        ("RETURN " + "1," * MAX_LENGTH + "1", "characters"),
    ],
)  # fmt: skip
def test_what_may_do_more_than_read_is_refused(query: str, why: str) -> None:
    with pytest.raises(CypherRefused, match=None) as caught:
        check_reads(query)
    assert why in caught.value.what


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (a)-[:X|Y*1..3]->(b) WHERE a.name = 'DELETE; //' RETURN a.x * 2 + b.y, count(*)",
        "MATCH (a {name: \"it's\"}) WHERE a.set = 1 RETURN date.truncate('month', a.day)",
        "OPTIONAL MATCH (n:Set) RETURN n.k * 3 AS x, [1, 2][0], {a: 1} LIMIT 3",
        "UNWIND $rows AS row MATCH (n {uid: row.uid}) RETURN n /* SET n.x = 1 */",
        "MATCH (a) ((x)-[:X]->(y)){1,3} (b) RETURN a",
        "MATCH (`delete`:`Detach Delete`) RETURN `delete`.x",
    ],
)
def test_what_reads_is_let_through(query: str) -> None:
    check_reads(query)


def test_each_match_gets_a_filter_that_no_condition_undoes() -> None:
    made = guard("MATCH (a:Pump)-[r:AT]->(s:Site) WHERE s.name STARTS WITH 'x' OR true RETURN a.name AS n ORDER BY n")
    filters = " AND ".join(f"{name}.access IN $access" for name in "ars")
    assert made.startswith(f"MATCH (a:Pump)-[r:AT]->(s:Site) WHERE {filters} AND (")
    assert made.index("OR true") < made.index(")", made.index("OR true")) < made.index("RETURN")
    second = guard("MATCH (a) WITH a WHERE a.x > 1 OPTIONAL MATCH (b)-[q]-(a) RETURN count(b)")
    assert second.count("IN $access") == 4
    path = guard("MATCH p = (a:Pump)-[:FEEDS*1..3]->(b) RETURN length(p)")
    assert "nodes(p)" in path
    assert "relationships(p)" in path


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (a)-[:AT]->(s) RETURN a",
        "MATCH (a)-->(s) RETURN a",
        "MATCH (a)--(s) RETURN a",
        "MATCH (a)<--(s) RETURN a",
        "MATCH (:Pump) RETURN 1",
        "MATCH (a), () RETURN a",
        "MATCH (a)-[r:X*1..3]->(b) RETURN r",
        "MATCH (a) WHERE (a)-[:AT]->() RETURN a",
        "MATCH (a) WHERE NOT (a)<-[:AT]-() RETURN a",
        "MATCH (a) WHERE (a)--(a) RETURN a",
        "MATCH (a) RETURN [(a)-->(b) | b.name]",
        "MATCH (a) RETURN size([(a)--(b) | b])",
        "MATCH (a) WHERE exists((a)--()) RETURN a",
        "MATCH (a) WHERE EXISTS { MATCH (b) RETURN b } RETURN a",
        "MATCH (a) RETURN COUNT { MATCH (b) RETURN b }",
        "MATCH p = shortestPath((a)-[*1..2]->(b)), (c)-[:X]-(d) RETURN c",
        "MATCH (a) WHERE a.access IN $access RETURN a",
    ],
)
def test_what_would_escape_its_filter_is_refused(query: str) -> None:
    with pytest.raises(CypherRefused):
        guard(query)


def declared(**more: object) -> DeclaredQuery:
    content = {
        "name": "pumps_at",
        "description": "Pumps of a site.",
        "cypher": "MATCH (p:Pump)-[r:AT]->(s:Site {uid: $site}) WHERE r.since >= $since RETURN p.uid AS uid",
        "parameters": {
            "site": {"description": "a site"},
            "since": {"type": "integer", "description": "from", "default": 0},
        },
        **more,
    }
    return DeclaredQuery.model_validate(content)


def test_parameters_are_checked_by_name_and_type() -> None:
    assert values(declared(), {"site": "Site:x"}) == {"site": "Site:x", "since": 0}
    for given, why in (
        ({}, "needs parameter site"),
        ({"site": "x", "sinse": 1}, "no parameter sinse"),
        ({"site": 3}, "expected string"),
        ({"site": "x", "since": "many"}, "expected integer"),
        ({"site": "x", "since": True}, "expected integer"),
        ({"site": ["x"]}, "expected string"),
    ):
        with pytest.raises(ClearwayError) as caught:
            values(declared(), given)
        assert why in caught.value.what


def test_a_declaration_says_all_parameters_and_reads_only() -> None:
    with pytest.raises(ValidationError, match="parameters"):
        declared(parameters={"site": {"description": "a site"}})
    with pytest.raises(ValidationError, match="SET"):
        declared(cypher="MATCH (p {uid: $site}) SET p.x = $since RETURN p")
