"""One copy of the graph follows what is wanted, whatever it held and wherever a load before was killed."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.knowledge import load
from assets.knowledge.load import bring, reopen
from assets.knowledge.things import check
from serving.retrieval.bolt import GraphFault
from serving.retrieval.copy import Copy, node_digest, relation_digest
from serving.retrieval.elements import Part
from serving.settings import Settings
from tests.knowledge import at, emptied, part, pump, site

pytestmark = pytest.mark.integration
BOUNDARIES = ("graph:opened", "graph:nodes", "graph:relations")


class Killed(Exception):
    pass


@st.composite
def worlds(draw: Any) -> list[Part]:
    """Parts that fit each other: pumps in some parts, sites in others, relations between those there are."""
    pumps = draw(st.dictionaries(st.integers(0, 6), st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 2))))
    sites = draw(st.sets(st.sampled_from("xyz"), max_size=3))
    pairs = sorted((p, s) for p in pumps for s in sites)
    related = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=6)) if pairs else []
    home = {pair: draw(st.sampled_from(["a", "b", "c"])) for pair in related}
    parts = {name: ([], []) for name in "abc"}  # type: dict[str, tuple[list[Node], list[Relation]]]
    for number, (name, litres) in pumps.items():
        parts[name][0].append(pump(number, litres=litres))
    parts["c"][0].extend(site(name) for name in sorted(sites))
    for pair, name in home.items():
        parts[name][1].append(at(*pair))
    return [part(name, nodes, relations) for name, (nodes, relations) in parts.items() if nodes or relations]


def held(copy: Copy) -> tuple[dict[str, str], dict[str, str]]:
    nodes = {**copy.nodes("Pump"), **copy.nodes("Site")}
    return nodes, {uid: digest for uid, (digest, _, _) in copy.relations("AT").items()}


def wanted(parts: list[Part]) -> tuple[dict[str, str], dict[str, str]]:
    return (
        {n.uid: node_digest(p.name, n) for p in parts for n in p.nodes},
        {r.uid: relation_digest(p.name, r) for p in parts for r in p.relations},
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(worlds(), st.sampled_from([None, *BOUNDARIES])), min_size=1, max_size=4), worlds())
def test_it_ends_as_wanted_whatever_was_killed_before(
    stores: Settings, steps: list[tuple[list[Part], str | None]], last: list[Part]
) -> None:
    copy = emptied(stores, "a")
    try:
        for parts, killed in steps:
            assert check(parts) == []

            def boundary(name: str, killed: str | None = killed) -> None:
                if name == killed:
                    raise Killed

            with mock.patch.object(load, "boundary", boundary):
                try:
                    bring(copy, parts)
                except Killed:
                    continue
            assert held(copy) == wanted(parts)
        bring(copy, last)
        assert held(copy) == wanted(last)
        assert {name: one.digest for name, one in copy.parts().items()} == {p.name: p.digest for p in last}
        assert bring(copy, last).parts == 0
    finally:
        copy.graph.close()


def test_only_what_differs_is_written(stores: Settings) -> None:
    copy = emptied(stores, "a")
    month = [at(n, "x", key=m) for n in range(50) for m in ("2024-01",)]
    parts = [part("pumps", [*(pump(n) for n in range(50)), site("x")]), part("at/2024-01", [], month)]
    first = bring(copy, parts)
    assert (first.nodes_written, first.relations_written) == (51, 50)
    more = part("at/2024-02", [], [at(n, "x", key="2024-02") for n in range(50)])
    changed = part("at/2024-01", [], month[1:])
    done = bring(copy, [parts[0], changed, more])
    assert (done.parts, done.nodes_written, done.relations_written, done.relations_removed) == (2, 0, 50, 1)


def test_a_label_that_changes_replaces_the_element(stores: Settings) -> None:
    copy = emptied(stores, "a")
    bring(copy, [part("p", [pump(1), site("x")], [at(1, "x")])])
    bring(copy, [part("p", [pump(1, "secret"), site("x")], [at(1, "x", "secret")])])
    rows = copy.graph.read("MATCH (a)-[r:AT]->(b) RETURN a.access AS a, r.access AS r, b.access AS b")
    assert rows == [{"a": "secret", "r": "secret", "b": ""}]


def test_what_others_did_to_a_copy_is_found_and_mended(stores: Settings) -> None:
    copy = emptied(stores, "a")
    parts = [part("p", [pump(n) for n in range(9)] + [site("x")], [at(n, "x") for n in range(9)])]
    bring(copy, parts)
    copy.graph.write("MATCH (n:Pump {uid: 'Pump:3'}) DETACH DELETE n")
    copy.graph.write("MATCH (n:Pump {uid: 'Pump:4'}) SET n.digest = 'other'")
    copy.graph.write("CREATE (n:Pump {uid: 'Pump:99', name: 'stray'})")
    copy.graph.write("MATCH (a:Pump {uid: 'Pump:1'})-[r:AT]->(b) DELETE r")
    assert bring(copy, parts).parts == 0  # a part that says it is whole is believed
    assert reopen(copy, parts) == 1
    bring(copy, parts)
    assert held(copy) == wanted(parts)


def test_a_server_that_dies_is_named_and_the_next_load_finishes(stores: Settings) -> None:
    copy = emptied(stores, "a")
    parts = [part("p", [pump(n) for n in range(30)] + [site("x")], [at(n, "x") for n in range(30)])]
    with (
        mock.patch.object(Copy, "put_relations", side_effect=GraphFault("away")),
        pytest.raises(GraphFault, match="away"),
    ):
        bring(copy, parts)
    assert copy.parts()["p"].digest is None
    bring(copy, parts)
    assert held(copy) == wanted(parts)
