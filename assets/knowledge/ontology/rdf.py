"""The graph as RDF and back: N-Quads with one named graph for each access.

A node is ``urn:clearway:<uid>`` with its class and values, a relation is a triple. What RDF cannot say of a triple (a
key, properties) a statement says beside it, by RDF 1.1 reification, which every store reads. Export and import are
inverse: the parts that come back are equal to those that went out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote

from assets.knowledge.ontology.vocabulary import PLATFORM, Vocabulary, camel
from serving.errors import ClearwayError
from serving.retrieval.elements import Node, Part, Relation, Scalar, digest

THING, ACCESS, STATEMENT = "urn:clearway:", "urn:clearway-access:", "urn:clearway-statement:"
RDF, RDFS, XSD = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://www.w3.org/2000/01/rdf-schema#",
    "http://www.w3.org/2001/XMLSchema#",
)
PART = "urn:clearway-part"


def thing(uid: str) -> str:
    return THING + quote(uid, safe=":")


def _literal(value: Scalar) -> str:
    match value:
        case bool():
            return f'"{str(value).lower()}"^^<{XSD}boolean>'
        case int():
            return f'"{value}"^^<{XSD}integer>'
        case float():
            return f'"{value!r}"^^<{XSD}double>'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _property(words: Vocabulary, owner: str, name: str) -> str:
    iri = words.property_iri(owner, name)
    return iri if _snake(camel(name)) == name else iri[: -len(camel(name))] + quote(name, safe="") + "_"


def _name(iri: str) -> str:
    local = iri[max(iri.rfind("#"), iri.rfind("/")) + 1 :]
    return unquote(local[:-1]) if local.endswith("_") else _snake(local)


class Terms:
    """Terms of N-Quads, each written once: a graph has few names of properties and says each uid many times."""

    def __init__(self, words: Vocabulary) -> None:
        self.property = cache(lambda owner, name: f"<{_property(words, owner, name)}>")
        self.thing = cache(lambda uid: f"<{thing(uid)}>")
        self.graph = cache(lambda access: f"<{ACCESS}{quote(access)}> .\n")


def quads(parts: Iterable[Part], words: Vocabulary, terms: Terms | None = None) -> Iterator[str]:
    """Lines of N-Quads."""
    terms = terms or Terms(words)
    for part in parts:
        within = f"<{PART}> {_literal(part.name)}"
        for node in part.nodes:
            yield from _node_quads(within, node, words, terms)
        for one in part.relations:
            graph = terms.graph(one.access)
            source, predicate, target = (
                terms.thing(one.source), f"<{words.predicates[one.predicate]}>", terms.thing(one.target)
            )  # fmt: skip
            subject = f"<{STATEMENT}{digest(part.name, one.uid)}>"
            yield f"{source} {predicate} {target} {graph}"
            yield f"{subject} {within} {graph}"
            yield f"{subject} <{RDF}type> <{RDF}Statement> {graph}"
            yield f"{subject} <{RDF}subject> {source} {graph}"
            yield f"{subject} <{RDF}predicate> {predicate} {graph}"
            yield f"{subject} <{RDF}object> {target} {graph}"
            if one.key:
                yield f"{subject} <{PLATFORM}key> {_literal(one.key)} {graph}"
            for name, content in sorted(one.properties.items()):
                yield f"{subject} {terms.property(one.predicate, name)} {_literal(content)} {graph}"


def _node_quads(within: str, node: Node, words: Vocabulary, terms: Terms) -> Iterator[str]:
    subject, graph = terms.thing(node.uid), terms.graph(node.access)
    yield f"{subject} <{RDF}type> <{words.kinds[node.kind]}> {graph}"
    yield f"{subject} {within} {graph}"
    yield f"{subject} <{RDFS}label> {_literal(node.name)} {graph}"
    for i, alias in enumerate(node.aliases):
        yield f"{subject} <{PLATFORM}alias> {_literal(f'{i:03d} {alias}')} {graph}"
    for name, value in sorted(node.properties.items()):
        yield f"{subject} {terms.property(node.kind, name)} {_literal(value)} {graph}"


def export(parts: Iterable[Part], words: Vocabulary, file: Path) -> int:
    """Write N-Quads; gives the number of quads.

    Raises:
        ClearwayError: the disk refuses it.
    """
    count = 0
    try:
        with open(file, "w", encoding="utf-8") as handle:
            for line in quads(parts, words):
                handle.write(line)
                count += 1
    except OSError as error:
        file.unlink(missing_ok=True)
        raise ClearwayError(
            f"{file} cannot be written: {error}", untouched="what is published.", todo="free the disk and run again."
        ) from error
    return count


def imported(file: Path, words: Vocabulary) -> list[Part]:
    """Parts of a file that :func:`export` wrote, or of any N-Quads in its terms; without passages.

    Things without a part are of the part ``imported``; a graph that is no access of ours is read as the open one.

    Raises:
        ClearwayError: it is no N-Quads, or uses a class or relation that the ontology does not have.
    """
    import pyoxigraph as ox

    kinds = {iri: kind for kind, iri in words.kinds.items()}
    predicates = {iri: name for name, iri in words.predicates.items()}
    about: dict[tuple[str, str], dict[str, list[object]]] = defaultdict(lambda: defaultdict(list))
    triples: dict[tuple[str, str, str, str], None] = {}
    try:
        with open(file, "rb") as handle:
            for quad in ox.parse(handle, format=ox.RdfFormat.N_QUADS):
                graph = getattr(quad.graph_name, "value", "")
                access = unquote(graph.removeprefix(ACCESS)) if graph.startswith(ACCESS) else ""
                subject, predicate = str(getattr(quad.subject, "value", "")), quad.predicate.value
                if predicate in predicates and isinstance(quad.object, ox.NamedNode):
                    triples[subject, predicate, quad.object.value, access] = None
                else:
                    about[subject, access][predicate].append(quad.object)
    except (SyntaxError, ValueError, OSError) as error:
        raise ClearwayError(f"{file}: {error}", untouched="what is published.", todo="mend the file.") from error
    nodes: dict[str, list[Node]] = defaultdict(list)
    relations: dict[str, list[Relation]] = defaultdict(list)
    for (subject, access), facts in about.items():
        if subject.startswith(STATEMENT):
            part, one, triple = _relation(facts, access, predicates)
            relations[part].append(one)
            triples.pop((*triple, access), None)
        elif subject.startswith(THING):
            part, node = _node(subject, access, facts, kinds, file)
            nodes[part].append(node)
    for source, predicate, target, access in triples:
        relations["imported"].append(Relation(_uid(source), predicates[predicate], _uid(target), {}, "", access))
    return [
        Part(name, tuple(nodes.get(name, ())), tuple(relations.get(name, ()))) for name in sorted({*nodes, *relations})
    ]


def _uid(iri: str) -> str:
    return unquote(iri.removeprefix(THING))


def _value(term: object) -> Scalar:
    text = str(getattr(term, "value", ""))
    datatype = str(getattr(getattr(term, "datatype", None), "value", ""))
    match datatype.removeprefix(XSD):
        case "boolean":
            return text in ("true", "1")
        case "integer":
            return int(text)
        case "double" | "decimal" | "float":
            return float(text)
    return text


def _first(facts: Mapping[str, list[object]], iri: str, otherwise: str = "") -> str:
    return str(_value(facts[iri][0])) if iri in facts else otherwise


def _relation(
    facts: Mapping[str, list[object]], access: str, predicates: Mapping[str, str]
) -> tuple[str, Relation, tuple[str, str, str]]:
    s, p, o = (str(getattr(facts[RDF + n][0], "value", "")) for n in ("subject", "predicate", "object"))
    own = {PART, PLATFORM + "key", *(RDF + n for n in ("type", "subject", "predicate", "object"))}
    properties = {_name(iri): _value(values[0]) for iri, values in facts.items() if iri not in own}
    one = Relation(_uid(s), predicates[p], _uid(o), properties, _first(facts, PLATFORM + "key"), access)
    return _first(facts, PART, "imported"), one, (s, p, o)


def _node(
    subject: str, access: str, facts: Mapping[str, list[object]], kinds: Mapping[str, str], file: Path
) -> tuple[str, Node]:
    uid = _uid(subject)
    types = [str(getattr(term, "value", "")) for term in facts.get(RDF + "type", [])]
    kind = next((kinds[iri] for iri in types if iri in kinds), None)
    if kind is None:
        raise ClearwayError(
            f"{file}: {uid} is of no class of the ontology ({', '.join(types) or 'none'})",
            untouched="what is published.",
            todo="declare its kind in ontology/graph.yaml.",
        )
    own = {PART, RDF + "type", RDFS + "label", PLATFORM + "alias"}
    aliases = tuple(str(_value(a)).partition(" ")[2] for a in sorted(facts.get(PLATFORM + "alias", []), key=str))
    properties = {_name(iri): _value(values[0]) for iri, values in facts.items() if iri not in own}
    return _first(facts, PART, "imported"), Node(
        uid, kind, _first(facts, RDFS + "label", uid), properties, aliases, access
    )
