"""Parts by declared queries, and what must hold of them together."""

from __future__ import annotations

import duckdb
import pytest
from pydantic import ValidationError

from assets.knowledge.spec import GraphFile
from assets.knowledge.things import check, mart_parts, scalar
from serving.errors import ClearwayError
from serving.retrieval.elements import Passage
from tests.knowledge import at, part, pump, site

KINDS = {
    "Pump": {
        "iri": "x:Pump",
        "description": "p",
        "reads": ["pumps"],
        "sql": "select id, name, litres, part from pumps",
    },
    "Site": {"iri": "x:Site", "description": "s", "reads": ["sites"], "sql": "select id, name, aliases from sites"},
}
AT = {
    "iri": "x:at", "description": "a", "reads": ["pumps"], "source": "Pump", "target": "Site", "labels": ["plan"],
    "sql": "select id as source, site as target, since as part, since from pumps",
}  # fmt: skip


@pytest.fixture
def marts() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    rows = "(1, 'one', 2.5, 'x', date '2024-01-01', 'new'), (2, 'two', null, 'x', date '2024-02-01', 'new')"
    columns = "id, name, litres, site, since, part"
    connection.execute(f"create table pumps as select * from (values {rows}) t({columns})")
    connection.execute("create table sites as select 'x' as id, 'Site X' as name, ['X', null, 'X'] as aliases")
    return connection


def test_a_row_is_a_thing_and_a_partition_a_part(marts: duckdb.DuckDBPyConnection) -> None:
    parts = {p.name: p for p in mart_parts(GraphFile.model_validate({"kinds": KINDS, "relations": {"AT": AT}}), marts)}
    assert set(parts) == {"Pump/new", "Site", "AT/2024-01-01", "AT/2024-02-01"}
    assert {n.uid: dict(n.properties) for n in parts["Pump/new"].nodes} == {"Pump:1": {"litres": 2.5}, "Pump:2": {}}
    assert parts["Site"].nodes[0].aliases == ("X",)
    (one,) = parts["AT/2024-01-01"].relations
    assert (one.source, one.target, one.access, one.properties["since"]) == ("Pump:1", "Site:x", "plan", "2024-01-01")
    assert check(list(parts.values())) == []


@pytest.mark.parametrize(
    ("sql", "why"),
    [("select 1 as id", "no column name"), ("select nothing", "sql"), ("select null as id, 'x' as name", "without id")],
)
def test_a_query_that_gives_no_things_names_itself(marts: duckdb.DuckDBPyConnection, sql: str, why: str) -> None:
    graph = GraphFile.model_validate({"kinds": {**KINDS, "Pump": {**KINDS["Pump"], "sql": sql}}})
    with pytest.raises(ClearwayError, match=r"kinds\.Pump\.sql") as caught:
        mart_parts(graph, marts)
    assert why in caught.value.what


def test_a_declaration_that_refers_to_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="no declared kind"):
        GraphFile.model_validate({"kinds": {"Pump": KINDS["Pump"]}, "relations": {"AT": AT}})
    with pytest.raises(ValidationError, match="no name"):
        GraphFile.model_validate({"kinds": {"Pump x": KINDS["Pump"]}})
    with pytest.raises(ValidationError, match="lower-case"):
        GraphFile.model_validate({"kinds": {"Pump": {**KINDS["Pump"], "labels": ["A B"]}}})


def test_parts_that_do_not_fit_are_told_by_their_elements() -> None:
    passage = Passage("Doc:1#0", "Doc:1", "t", "x")
    found = check([
        part("a", [pump(1), pump(2, "secret")], [at(1, "x")]),
        part("b", [pump(1), site("y")], [at(2, "y"), at(1, "y"), at(1, "y")], passage),
    ])  # fmt: skip
    assert found == [
        "b: Pump:1 exists twice",
        "a: Pump:1 AT Site:x : there is no Site:x".replace(" : ", ": "),
        "b: Pump:2 AT Site:y: labels of Pump:2 missing",
        "b: Pump:1 AT Site:y  exists twice",
        "b: passage Doc:1#0: there is no Doc:1",
    ]


def test_values_that_no_graph_has_are_left_out() -> None:
    assert scalar(float("nan")) is None
    assert scalar(None) is None
    assert scalar(True) is True
