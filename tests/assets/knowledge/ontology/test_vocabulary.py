"""The ontology against the declared graph, and against itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from assets.knowledge.ontology.shapes import violations
from assets.knowledge.ontology.vocabulary import Vocabulary, contradictions, undeclared, vocabulary
from assets.knowledge.spec import GraphFile, read_graph
from serving.errors import DeclarationError
from serving.retrieval.elements import Relation
from serving.settings import PROJECT
from tests.knowledge import at, part, pump, site

TURTLE = """
@prefix x: <https://example.org/x#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
x:Pump a owl:Class ; owl:disjointWith x:Site . x:Site a owl:Class .
x:at a owl:ObjectProperty ; rdfs:domain x:Pump ; rdfs:range x:Site .
x:litres a owl:DatatypeProperty . x:since a owl:DatatypeProperty .
"""
SHAPES = """
@prefix x: <https://example.org/x#> . @prefix sh: <http://www.w3.org/ns/shacl#> .
x:PumpShape a sh:NodeShape ; sh:targetClass x:Pump ;
  sh:property [ sh:path x:at ; sh:minCount 1 ; sh:maxCount 1 ; sh:class x:Site ] ;
  sh:property [ sh:path x:litres ; sh:minInclusive 0 ] .
"""
SQL = {"description": "d", "reads": ["t"], "sql": "select 1"}
GRAPH = GraphFile.model_validate(
    {
        "kinds": {"Pump": {**SQL, "iri": "x:Pump"}, "Site": {**SQL, "iri": "x:Site"}},
        "relations": {"AT": {**SQL, "iri": "x:at", "source": "Pump", "target": "Site"}},
    }
)


def domain(folder: Path, turtle: str = TURTLE, shapes: str = SHAPES) -> Path:
    (folder / "ontology").mkdir()
    (folder / "ontology" / "x.ttl").write_text(turtle)
    (folder / "ontology" / "shapes.ttl").write_text(shapes)
    return folder


@pytest.fixture
def words(tmp_path: Path) -> Vocabulary:
    return vocabulary(domain(tmp_path), GRAPH)


def test_names_become_terms_of_their_own_space(words: Vocabulary) -> None:
    assert words.kinds["Pump"] == "https://example.org/x#Pump"
    assert words.property_iri("Pump", "mean_late_rate") == "https://example.org/x#meanLateRate"
    assert words.kinds["Metric"].endswith("platform#Metric")


def test_what_is_used_is_declared(words: Vocabulary) -> None:
    assert undeclared(words, {"Pump": {"litres"}, "AT": {"since"}, "Metric": {"anything"}}) == []
    (one,) = undeclared(words, {"Pump": {"litres", "colour"}})
    assert "Pump.colour" in one


def test_a_relation_that_its_ends_exclude_is_a_contradiction(words: Vocabulary) -> None:
    assert contradictions(words) == []
    turned = dataclasses.replace(words, ends={"AT": ("Site", "Pump")})
    assert any("Pump" in problem and "Site" in problem for problem in contradictions(turned))


def test_a_thing_out_of_its_shape_is_named_with_its_value(words: Vocabulary) -> None:
    good = [part("p", [pump(1, litres=2.0), site("x")], [at(1, "x")])]
    assert violations(good, words) == []
    bad = [
        part(
            "p",
            [pump(1, litres=-2.0), pump(2, litres=1.0), pump(3, litres=0.0), site("x"), site("y")],
            [at(1, "x"), at(3, "x"), at(3, "y")],
        )
    ]
    found = {(v.uid, v.path) for v in violations(bad, words)}
    assert found == {("Pump:1", "litres"), ("Pump:2", "at"), ("Pump:3", "at")}
    wrong_end = [
        part(
            "p", [pump(1, litres=2.0), pump(2, litres=2.0), site("x")], [at(2, "x"), Relation("Pump:1", "AT", "Pump:2")]
        )
    ]
    assert [v.uid for v in violations(wrong_end, words)] == ["Pump:1"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"x\.ttl"):
        vocabulary(domain(tmp_path, turtle="this is : no turtle @"), GRAPH)


def test_an_unknown_prefix_is_named(tmp_path: Path) -> None:
    wrong = GraphFile.model_validate({"kinds": {"Pump": {**SQL, "iri": "y:Pump"}}})
    with pytest.raises(DeclarationError, match=r"kinds\.Pump\.iri.*'y'"):
        vocabulary(domain(tmp_path), wrong)


def test_the_reference_domains_ontology_holds() -> None:
    folder = PROJECT / "assets" / "domain"
    graph = read_graph(folder)
    assert graph is not None
    words = vocabulary(folder, graph)
    assert contradictions(words) == []
    assert undeclared(words, {}) == []
    assert len(graph.queries) > 10
