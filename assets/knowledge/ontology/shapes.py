"""SHACL over the things that have shapes (https://www.w3.org/TR/shacl/), by pyshacl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from assets.knowledge.ontology.rdf import THING, thing
from assets.knowledge.ontology.vocabulary import Vocabulary
from serving.retrieval.elements import Part


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


def violations(parts: Sequence[Part], words: Vocabulary, limit: int = 200) -> list[Violation]:
    """What is not of its shape, at most ``limit``; empty when everything is, or there are no shapes."""
    kinds = shaped_kinds(words)
    if not kinds:
        return []
    import pyshacl
    from rdflib import RDF, SH, Graph, Literal, URIRef

    data = Graph()
    for part in parts:
        for node in part.nodes:
            subject = URIRef(thing(node.uid))
            data.add((subject, RDF.type, URIRef(words.kinds[node.kind])))
            if node.kind in kinds:
                for name, value in node.properties.items():
                    data.add((subject, URIRef(words.property_iri(node.kind, name)), Literal(value)))
        for one in part.relations:
            if one.source.partition(":")[0] in kinds:
                data.add(
                    (URIRef(thing(one.source)), URIRef(words.predicates[one.predicate]), URIRef(thing(one.target)))
                )
    conforms, report, _ = pyshacl.validate(data, shacl_graph=words.shapes, advanced=False, inference="none")
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
