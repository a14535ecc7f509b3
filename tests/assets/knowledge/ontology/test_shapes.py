"""Shapes are judged faster than as they are written, and not otherwise."""

from __future__ import annotations

from typing import Any

import pyshacl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdflib import RDF, SH, Graph, Literal, URIRef

from assets.knowledge.ontology.shapes import flattened, looked_at

X = "https://example.org/x#"
PREFIXES = f"@prefix x: <{X}> . @prefix sh: <http://www.w3.org/ns/shacl#> .\n"
SHAPES = {
    "plain": """x:PumpShape a sh:NodeShape ; sh:targetClass x:Pump ; sh:property
        [ sh:path x:at ; sh:minCount 1 ; sh:maxCount 1 ; sh:class x:Site ] ,
        [ sh:path x:litres ; sh:maxInclusive 5 ] .""",
    "of two classes": """x:S a sh:NodeShape ; sh:targetClass x:Pump , x:Site ; sh:property
        [ sh:path x:litres ; sh:minCount 1 ] .""",
    "referred to": """x:SiteShape a sh:NodeShape ; sh:targetClass x:Site ;
        sh:property [ sh:path x:litres ; sh:minCount 1 ] .
        x:PumpShape a sh:NodeShape ; sh:targetClass x:Pump ; sh:property [ sh:path x:at ; sh:node x:SiteShape ] .""",
    "shared": """x:P a sh:PropertyShape ; sh:path x:litres ; sh:maxCount 1 .
        x:A a sh:NodeShape ; sh:targetClass x:Pump ; sh:property x:P .
        x:B a sh:NodeShape ; sh:targetClass x:Site ; sh:property x:P .""",
    "inverse": """x:SiteShape a sh:NodeShape ; sh:targetClass x:Site ; sh:property
        [ sh:path [ sh:inversePath x:at ] ; sh:maxCount 1 ] .""",
    "off": """x:PumpShape a sh:NodeShape ; sh:deactivated true ; sh:targetClass x:Pump ; sh:property
        [ sh:path x:at ; sh:minCount 1 ] .""",
    "either": """x:PumpShape a sh:NodeShape ; sh:targetClass x:Pump ; sh:or ( [ sh:path x:at ; sh:minCount 1 ]
        [ sh:path x:litres ; sh:minCount 1 ] ) ; sh:property [ sh:path x:litres ; sh:minInclusive 0 ] .""",
}


def parsed(shapes: str) -> Graph:
    return Graph().parse(data=PREFIXES + shapes, format="turtle")


@st.composite
def worlds(draw: Any) -> Graph:
    data, things = Graph(), [URIRef(f"{X}{n}") for n in range(5)]
    for one in things:
        data.add((one, RDF.type, URIRef(X + draw(st.sampled_from(["Pump", "Site"])))))
        for other in draw(st.lists(st.sampled_from(things), max_size=2)):
            data.add((one, URIRef(X + "at"), other))
        for litres in draw(st.lists(st.integers(-1, 7), max_size=2)):
            data.add((one, URIRef(X + "litres"), Literal(litres)))
    return data


def found(data: Graph, shapes: Graph) -> set[tuple[object, ...]]:
    _, report, _ = pyshacl.validate(data, shacl_graph=shapes, advanced=False, inference="none")
    assert isinstance(report, Graph)
    wanted = (SH.focusNode, SH.sourceConstraintComponent, SH.value)
    return {tuple(report.value(r, one) for one in wanted) for r in report.subjects(RDF.type, SH.ValidationResult)}


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=25, deadline=None)
@given(worlds())
def test_flattened_shapes_find_the_same(name: str, data: Graph) -> None:
    shapes = parsed(SHAPES[name])
    assert found(data, flattened(shapes)) == found(data, shapes)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=25, deadline=None)
@given(worlds())
def test_what_shapes_do_not_name_they_do_not_look_at(name: str, data: Graph) -> None:
    shapes = parsed(SHAPES[name])
    named = looked_at(shapes)
    assert named is not None
    less = Graph()
    less += (triple for triple in data if triple[1] == RDF.type or str(triple[1]) in named)
    assert found(less, shapes) == found(data, shapes)


def test_closed_shapes_look_at_everything() -> None:
    assert looked_at(parsed("x:S a sh:NodeShape ; sh:targetClass x:Pump ; sh:closed true .")) is None
    assert looked_at(parsed(SHAPES["plain"])) == {
        *(X + n for n in ("at", "litres", "Pump", "Site")), str(SH.NodeShape)
    }  # fmt: skip
