"""SHACL over the things that have shapes (https://www.w3.org/TR/shacl/), by pyshacl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from assets.knowledge.ontology.rdf import THING, thing
from assets.knowledge.ontology.vocabulary import Vocabulary
from assets.knowledge.paused import collection_paused
from serving.retrieval.elements import Part

if TYPE_CHECKING:
    from rdflib import Graph, URIRef


@dataclass(frozen=True)
class Violation:
    """One thing that is not of its shape."""

    uid: str
    path: str
    message: str


def shaped_kinds(words: Vocabulary) -> set[str]:
    """Kinds whose class is the target of a shape."""
    from rdflib import SH

    targets = {str(iri) for iri in words.shapes.objects(None, SH.targetClass)}
    return {kind for kind, iri in words.kinds.items() if iri in targets}


def flattened(shapes: Graph) -> Graph:
    """The same shapes, property shapes with the targets of their node shape.

    A validator then looks at all targets of a property shape at once, not at each by itself, which takes a fraction of
    the time. A shape that others refer to stays as it is: it is judged where they say.
    """
    from rdflib import SH, BNode, Graph

    made = Graph()
    made += shapes
    targets = (SH.targetClass, SH.targetNode, SH.targetSubjectsOf, SH.targetObjectsOf)
    for shape in set(shapes.subjects(SH.targetClass, None)):
        if (None, None, shape) in shapes or (shape, SH.deactivated, None) in shapes:
            continue
        for inner in set(shapes.objects(shape, SH.property)):
            if isinstance(inner, BNode) and len(set(shapes.subject_predicates(inner))) == 1:
                made.remove((shape, SH.property, inner))
                for target in targets:
                    for whom in shapes.objects(shape, target):
                        made.add((inner, target, whom))
    return made


def looked_at(shapes: Graph) -> set[str] | None:
    """IRIs of the predicates that shapes can look at: those that they name. None for any, as closed shapes do."""
    from rdflib import SH, URIRef

    if any((None, one, None) in shapes for one in (SH.closed, SH.sparql, SH.select, SH.ask, SH.target)):
        return None
    return {str(term) for term in shapes.objects() if isinstance(term, URIRef)}


@collection_paused()
def violations(parts: Sequence[Part], words: Vocabulary, limit: int = 200) -> list[Violation]:
    """What is not of its shape, at most ``limit``; empty when everything is, or there are no shapes."""
    kinds = shaped_kinds(words)
    if not kinds:
        return []
    import pyshacl
    from rdflib import RDF, SH, Graph

    data = _data(parts, words, kinds)
    conforms, report, _ = pyshacl.validate(data, shacl_graph=flattened(words.shapes), advanced=False, inference="none")
    if conforms:
        return []
    assert isinstance(report, Graph)
    found = []
    for result in report.subjects(RDF.type, SH.ValidationResult):
        focus, path = report.value(result, SH.focusNode), report.value(result, SH.resultPath)
        message = str(report.value(result, SH.resultMessage) or "")
        found_value = report.value(result, SH.value)
        found.append(
            Violation(
                unquote(str(focus).removeprefix(THING)),
                str(path).rpartition("#")[2],
                f"{message}{f' (found {str(found_value).removeprefix(THING)})' if found_value is not None else ''}",
            )
        )
    return sorted(found, key=lambda v: (v.uid, v.path))[:limit]


def _data(parts: Sequence[Part], words: Vocabulary, kinds: set[str]) -> Graph:
    """Classes of all things, and of those that have shapes what these look at."""
    from rdflib import RDF, Graph, Literal, URIRef

    named = looked_at(words.shapes)

    @cache
    def predicate(iri: str) -> URIRef | None:
        return URIRef(iri) if named is None or iri in named else None

    @cache
    def value(owner: str, name: str) -> URIRef | None:
        return predicate(words.property_iri(owner, name))

    data = Graph()
    for part in parts:
        for node in part.nodes:
            subject = URIRef(thing(node.uid))
            data.add((subject, RDF.type, URIRef(words.kinds[node.kind])))
            for name, content in node.properties.items() if node.kind in kinds else ():
                if (iri := value(node.kind, name)) is not None:
                    data.add((subject, iri, Literal(content)))
    # Several relations of a pair, told apart by a key, are one triple.
    pairs = {(one.source, one.predicate, one.target) for part in parts for one in part.relations}
    for source, name, target in pairs:
        iri = predicate(words.predicates[name])
        if iri is not None and source.partition(":")[0] in kinds:
            data.add((URIRef(thing(source)), iri, URIRef(thing(target))))
    return data
