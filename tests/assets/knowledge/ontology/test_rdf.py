"""RDF out and in: what comes back is what went out, each access a named graph; SPARQL over it ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.knowledge.ontology.rdf import ACCESS, export, imported
from assets.knowledge.ontology.vocabulary import Vocabulary
from serving.errors import ClearwayError
from serving.retrieval import sparql
from serving.retrieval.elements import Node, Part, Relation
from tests.knowledge import at, part, pump, site

X = "https://example.org/x#"


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    from rdflib import Graph

    return Vocabulary({"Pump": X + "Pump", "Site": X + "Site"}, {"AT": X + "at"}, {}, Graph(), Graph())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAME = st.text(st.sampled_from("abcxyz09 é\"\\'/#%|<>{}펌"), min_size=1, max_size=6)
ACCESSES = st.sampled_from(["", "a", "a|b"])
VALUES = st.one_of(
    TEXT, st.integers(-(10**12), 10**12), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
PROPERTIES = st.dictionaries(st.sampled_from(["litres", "late_rate", "x_1", "colour"]), VALUES, max_size=3)


@st.composite
def worlds(draw: Any) -> list[Part]:
    ids = draw(st.lists(NAME, unique=True, min_size=1, max_size=5))
    nodes = [
        Node(f"Pump:{i}", "Pump", draw(TEXT), draw(PROPERTIES), tuple(draw(st.lists(TEXT, max_size=2))), draw(ACCESSES))
        for i in ids
    ]
    ends = st.sampled_from([n.uid for n in nodes])
    relations = draw(
        st.lists(
            st.builds(Relation, ends, st.just("AT"), ends, PROPERTIES, st.sampled_from(["", "k", "l"]), ACCESSES),
            max_size=6, unique_by=lambda r: r.uid,
        )
    )  # fmt: skip
    return [part("p/1", nodes, relations[::2]), *([part("p 2", [], relations[1::2])] if relations[1::2] else [])]


def plain(parts: list[Part]) -> dict[str, Any]:
    return {
        p.name: (
            sorted((n.uid, n.kind, n.name, sorted(n.properties.items()), n.aliases, n.access) for n in p.nodes),
            sorted((r.uid, sorted(r.properties.items()), r.access) for r in p.relations),
        )
        for p in parts
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=worlds())
def test_what_comes_back_is_what_went_out(parts: list[Part], words: Vocabulary, tmp_path: Path) -> None:
    file = tmp_path / "x.nq"
    export(parts, words, file)
    assert plain(imported(file, words)) == plain(parts)


def test_each_access_is_a_graph_and_any_quads_in_our_terms_are_read(tmp_path: Path, words: Vocabulary) -> None:
    file = tmp_path / "x.nq"
    export([part("p", [pump(1, "secret"), site("x")], [])], words, file)
    lines = file.read_text().splitlines()
    assert all(f"<{ACCESS}secret>" in line for line in lines if "<urn:clearway:Pump:1>" in line)
    foreign = tmp_path / "y.nq"
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    foreign.write_text(
        f"<urn:clearway:Pump:1> <{rdf}type> <{X}Pump> .\n<urn:clearway:Site:x> <{rdf}type> <{X}Site> .\n"
        f"<urn:clearway:Pump:1> <{X}at> <urn:clearway:Site:x> .\n"
    )
    (one,) = imported(foreign, words)
    assert one.name == "imported"
    assert [r.uid for r in one.relations] == [Relation("Pump:1", "AT", "Site:x").uid]


@pytest.mark.parametrize(
    ("content", "why"),
    [("no quads", "x.nq"), ("<urn:clearway:Pump:1> <http://x/y> <http://z> .", "no class of the ontology")],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, words: Vocabulary, content: str, why: str) -> None:
    (tmp_path / "x.nq").write_text(content)
    with pytest.raises(ClearwayError) as caught:
        imported(tmp_path / "x.nq", words)
    assert why in caught.value.what


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, words: Vocabulary) -> Path:
    folder = tmp_path_factory.mktemp("rdf")
    world = [part("p", [*(pump(n, litres=n) for n in range(200)), site("x")], [at(n, "x") for n in range(200)])]
    export(world, words, folder / "x.nq")
    sparql.build(folder / "x.nq", folder / "store")
    return folder / "store"


def test_sparql_answers_over_all_graphs(store: Path) -> None:
    found = sparql.ask(store, f"SELECT (COUNT(?p) AS ?n) WHERE {{ ?p <{X}at> <urn:clearway:Site:x> }}")
    assert found == {
        "columns": ["n"],
        "rows": [['"200"^^<http://www.w3.org/2001/XMLSchema#integer>']],
        "truncated": False,
    }
    assert sparql.ask(store, "ASK { ?s ?p ?o }")["rows"] == [[True]]
    several = sparql.ask(store, "CONSTRUCT { ?s ?p ?o } WHERE { ?s ?p ?o }", rows=7)
    assert (len(several["rows"]), several["truncated"]) == (7, True)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE WHERE { ?a ?b ?c }",
        "INSERT DATA { <urn:a> <urn:b> <urn:c> }",
        "LOAD <http://example.org/x>",
        "SELECT * { SERVICE <http://example.org/> { ?a ?b ?c } }",
        "SELEC * { ?a ?b ?c }",
        "SELECT * { ?a ?b " + "x" * 9000 + " }",
    ],
)
def test_what_is_no_reading_query_of_this_store_is_refused(store: Path, query: str) -> None:
    with pytest.raises(sparql.SparqlRefused):
        sparql.ask(store, query)


def test_words_inside_names_and_literals_are_no_commands() -> None:
    sparql.check('SELECT ?add ?load WHERE { ?add <urn:delete> "insert; drop" } # clear')


def test_a_query_that_would_not_end_is_ended(store: Path) -> None:
    started = time.monotonic()
    with pytest.raises(sparql.SparqlRefused, match="ended after 1 s"):
        sparql.ask(store, "SELECT * { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i FILTER(?a != ?i) } ORDER BY ?a", seconds=1)
    assert time.monotonic() - started < 20
