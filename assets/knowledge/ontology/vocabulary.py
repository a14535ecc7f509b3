"""Kinds, predicates and properties of the graph as terms of the ontology, and the ontology's own consistency.

Reasoning is OWL 2 RL (https://www.w3.org/TR/owl2-profiles/#OWL_2_RL) on the schema with one instance of each class and
an instance pair of each declared relation: what cannot be without contradiction is found before there is any data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assets.knowledge.spec import GraphFile
from serving.errors import DeclarationError

if TYPE_CHECKING:
    from rdflib import Graph

PLATFORM = "https://w3id.org/clearway/platform#"
PLATFORM_FILE = Path(__file__).with_name("platform.ttl")
_PLATFORM_KINDS = (
    *("Source", "Table", "Metric", "FeatureService", "Model", "ModelVersion", "Run"),
    *("Document", "Passage", "Community"),
)
_PLATFORM_PREDICATES = {
    "FEEDS": "feeds", "USES": "uses", "VERSION_OF": "versionOf", "MADE_BY_RUN": "madeByRun", "MENTIONS": "mentions",
    "IN_COMMUNITY": "inCommunity",
}  # fmt: skip
# What the project says of every document and of how a link to a thing was found.
_PLATFORM_PROPERTIES = frozenset(("type", "source", "file", "as", "score"))
_PREFIX = re.compile(r"^\s*(?:@prefix|PREFIX)\s+([\w-]*):\s*<([^>]+)>", re.MULTILINE)


@dataclass(frozen=True)
class Vocabulary:
    """IRIs of the graph's names. ``spaces`` gives the namespace of a kind's or predicate's properties."""

    kinds: Mapping[str, str]
    predicates: Mapping[str, str]
    ends: Mapping[str, tuple[str, str]]
    schema: Graph
    shapes: Graph

    def property_iri(self, owner: str, name: str) -> str:
        """The IRI of a property of a kind or predicate: ``late_rate`` is ``lateRate`` in its owner's namespace."""
        if name in _PLATFORM_PROPERTIES:
            return PLATFORM + camel(name)
        iri = self.kinds.get(owner) or self.predicates[owner]
        return iri[: max(iri.rfind("#"), iri.rfind("/")) + 1] + camel(name)


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def ontology_files(domain: Path) -> list[Path]:
    """Turtle of the project and of a domain, shapes apart."""
    files = sorted(p for p in (domain / "ontology").glob("*.ttl") if not p.name.startswith("shapes"))
    return [PLATFORM_FILE, *files]


def shape_files(domain: Path) -> list[Path]:
    return sorted((domain / "ontology").glob("shapes*.ttl"))


def parsed(files: list[Path]) -> Graph:
    """Turtle files as one graph.

    Raises:
        DeclarationError: one is no Turtle; file and line are named.
    """
    from rdflib import Graph

    graph = Graph()
    for file in files:
        try:
            graph.parse(file, format="turtle")
        except Exception as error:  # rdflib raises many kinds, of parser and of files
            raise DeclarationError(
                f"{file}: {str(error)[:500]}", untouched="what is published.", todo="mend the Turtle."
            ) from error
    return graph


def vocabulary(domain: Path, graph: GraphFile) -> Vocabulary:
    """The vocabulary of a domain.

    Raises:
        DeclarationError: a file is no Turtle, or a prefix is not known.
    """
    files = ontology_files(domain)
    schema, shapes = parsed(files), parsed(shape_files(domain))
    prefixes: dict[str, str] = {}
    for file in files:
        prefixes.update(_PREFIX.findall(file.read_text()))

    def expanded(iri: str, where: str) -> str:
        prefix, _, name = iri.partition(":")
        if prefix not in prefixes or not name:
            raise DeclarationError(
                f"ontology/graph.yaml: field {where}.iri: prefix {prefix!r} is in no Turtle file of the domain",
                untouched="what is published.",
                todo=f"use one of {', '.join(sorted(prefixes))}.",
            )
        return prefixes[prefix] + name

    kinds = {name: PLATFORM + name for name in _PLATFORM_KINDS}
    predicates = {name: PLATFORM + local for name, local in _PLATFORM_PREDICATES.items()}
    kinds.update({name: expanded(one.iri, f"kinds.{name}") for name, one in graph.kinds.items()})
    predicates.update({name: expanded(one.iri, f"relations.{name}") for name, one in graph.relations.items()})
    ends = {name: (one.source, one.target) for name, one in graph.relations.items()}
    kinds.update({name: expanded(iri, f"documents.{name}") for name, iri in graph.documents.items()})
    predicates.update({name: expanded(iri, f"mentions.{name}") for name, iri in graph.mentions.items()})
    return Vocabulary(kinds, predicates, ends, schema, shapes)


def undeclared(words: Vocabulary, properties: Mapping[str, set[str]]) -> list[str]:
    """Names that the graph uses and the ontology does not declare.

    Args:
        properties: names of properties by kind or predicate.
    """
    from rdflib import OWL, RDF, URIRef

    schema = words.schema
    classes = set(schema.subjects(RDF.type, OWL.Class))
    relations = set(schema.subjects(RDF.type, OWL.ObjectProperty))
    values = set(schema.subjects(RDF.type, OWL.DatatypeProperty))
    problems = [f"kind {k}: {iri} is no owl:Class" for k, iri in words.kinds.items() if URIRef(iri) not in classes]
    problems += [
        f"relation {p}: {iri} is no owl:ObjectProperty"
        for p, iri in words.predicates.items()
        if URIRef(iri) not in relations
    ]
    for owner, names in sorted(properties.items()):
        if words.kinds.get(owner, words.predicates.get(owner, "")).startswith(PLATFORM):
            continue
        for name in sorted(names):
            if URIRef(words.property_iri(owner, name)) not in values:
                problems.append(f"{owner}.{name}: {words.property_iri(owner, name)} is no owl:DatatypeProperty")
    return problems


def contradictions(words: Vocabulary) -> list[str]:
    """What cannot be, by OWL 2 RL: a class without possible members, a relation between what its ends exclude."""
    import owlrl
    from rdflib import OWL, RDF, Graph, Literal, URIRef

    graph = Graph()
    for triple in words.schema:
        graph.add(triple)
    example = {kind: URIRef(f"urn:example:{kind}") for kind in words.kinds}
    for kind, iri in words.kinds.items():
        graph.add((example[kind], RDF.type, URIRef(iri)))
    for predicate, (source, target) in words.ends.items():
        graph.add((example[source], URIRef(words.predicates[predicate]), example[target]))
    owlrl.DeductiveClosure(owlrl.OWLRL_Semantics).expand(graph)
    error = URIRef("http://www.daml.org/2002/03/agents/agent-ont#ErrorMessage")
    found = [str(o) for _, _, o in graph.triples((None, URIRef(str(error).rpartition("#")[0] + "#error"), None))]
    found += [str(o) for s, p, o in graph if isinstance(o, Literal) and "rror" in str(p)]
    for kind, one in example.items():
        if (one, RDF.type, OWL.Nothing) in graph:
            found.append(f"{kind} can have no member")
    names = {str(uri): kind for kind, uri in example.items()}
    for kind, one in example.items():
        mine = set(graph.objects(one, RDF.type))
        for a in mine:
            clash = mine & set(graph.objects(a, OWL.disjointWith))
            found += [
                f"a {kind} would be {_local(a)} and {_local(b)}, which are disjoint" for b in clash if str(a) < str(b)
            ]
    return sorted({_readable(text, names) for text in found})


def _local(iri: object) -> str:
    return re.split(r"[#/]", str(iri))[-1]


def _readable(text: str, names: Mapping[str, str]) -> str:
    for iri, kind in names.items():
        text = text.replace(iri, f"a {kind}")
    return text
