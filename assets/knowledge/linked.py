"""Documents as parts of the graph: a node each, its passages, and relations to the things that it is about."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.passages import cut
from assets.knowledge.extract import Extraction, Extractor
from assets.knowledge.named import Named
from serving.errors import ClearwayError
from serving.retrieval.access import union
from serving.retrieval.elements import Node, Part, Passage, Relation, Scalar
from serving.retrieval.resolution import Match, Resolver

if TYPE_CHECKING:
    from assets.knowledge.cache import Cache

DOCUMENT, MENTIONS, INVOLVES = "Document", "MENTIONS", "INVOLVES"
BUCKETS = 64


class Caches(NamedTuple):
    """Files of passages by document, and of things by the text that names them; None works all out anew."""

    passages: Cache | None = None
    named: Cache | None = None


NO_CACHES = Caches()


@dataclass
class Linked:
    """Parts, and what of the declared links found its thing, by kind."""

    parts: list[Part]
    resolved: Counter[str] = field(default_factory=Counter)
    unresolved: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    problems: list[str] = field(default_factory=list)


def kind_of_document(kind: str, kinds: Mapping[str, str]) -> str:
    """The class of a document's node: its kind in camel case where the domain declares that, else a plain document."""
    camel = "".join(word.capitalize() for word in kind.split("_"))
    return camel if camel in kinds else DOCUMENT


class Links:
    """Finds things by kind and value: by id, else by name.

    Args:
        nodes: the things that may be meant.
        documents: their values tell which words are of the trade; a name that one document alone has weighs more.
    """

    def __init__(self, nodes: Sequence[Node], documents: Sequence[Document]) -> None:
        self._nodes = {node.uid: node for node in nodes}
        self._names: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for node in nodes:
            self._names[node.kind][node.uid] = [node.name, *node.aliases]
        self._said: dict[str, set[str]] = defaultdict(set)
        for document in documents:
            for kind, value in document.links:
                if f"{kind}:{value}" not in self._nodes:
                    self._said[kind].add(value)
        self._resolvers: dict[str, Resolver] = {}
        self._found: dict[tuple[str, str], Match | None] = {}

    def find(self, kind: str, value: str) -> Match | None:
        """The thing, or None."""
        key = (kind, value)
        if key not in self._found:
            if f"{kind}:{value}" in self._nodes:
                self._found[key] = Match(f"{kind}:{value}", 1.0, value)
            else:
                self._found[key] = self._resolver(kind).resolve(value)
        return self._found[key]

    def _resolver(self, kind: str) -> Resolver:
        if kind not in self._resolvers:
            self._resolvers[kind] = Resolver(self._names.get(kind, {}), sorted(self._said.get(kind, ())))
        return self._resolvers[kind]

    def access(self, uid: str) -> str:
        return self._nodes[uid].access


def document_parts(
    documents: Sequence[Document],
    nodes: Sequence[Node],
    kinds: Mapping[str, str],
    count: Callable[[str], int],
    extract: Extraction | None = None,
    proposals: Callable[[Passage], Mapping[str, Any]] | None = None,
    caches: Caches = NO_CACHES,
) -> Linked:
    """Documents with their passages, in parts of like size and stable content: what changes, changes few parts.

    Args:
        kinds: declared classes of kinds of documents.
        count: tokens of a text.
        extract: what is looked for in texts beside names.
        proposals: what a language model proposes for a passage.
        caches: keep what was worked out of documents and texts that did not change.

    Raises:
        ClearwayError: the language model does not answer.
    """
    links = Links(nodes, documents)
    sought = extract or Extraction()
    extractor = Extractor(links, sought, proposals)
    pieces_of = list(cut(documents, count, caches.passages))
    said_by = [p.text for _, pieces in pieces_of if not isinstance(pieces, ClearwayError) for p in pieces]
    named = iter(Named(nodes, sought.codes, caches.named).find(said_by))
    made = Linked([])
    buckets: dict[str, tuple[list[Node], list[Relation], list[Passage]]] = {}
    for document, pieces in pieces_of:
        if isinstance(pieces, ClearwayError):
            made.problems.append(str(pieces))
            continue
        kind = kind_of_document(document.kind, kinds)
        uid = f"{kind}:{document.uid.partition(':')[2]}"
        node = Node(
            uid, kind, document.title,
            {"type": document.kind, "source": document.source, "file": document.file, **document.metadata},
            _aliases(document), document.access,
        )  # fmt: skip
        mentioned: dict[str, Relation] = {}
        for wanted, value in document.links:
            match = links.find(wanted, value)
            if match is None:
                made.unresolved[wanted][value] += 1
                continue
            made.resolved[wanted] += 1
            # An event's record names what it involves; a text only mentions it.
            predicate = INVOLVES if kind != DOCUMENT else MENTIONS
            access = union(document.access, links.access(match.uid))
            properties: dict[str, Scalar] = {"as": value, "score": round(match.score, 3)} if match.score < 1 else {}
            mentioned.setdefault(match.uid, Relation(uid, predicate, match.uid, properties, "", access))
        declared = tuple(mentioned)
        said: dict[tuple[str, str, str], Relation] = {}
        texts: list[Passage] = []
        for passage in pieces:
            found = extractor.read(passage, next(named))
            for other in found.mentions:
                access = union(document.access, links.access(other))
                mentioned.setdefault(other, Relation(uid, MENTIONS, other, {}, "", access))
            for source, predicate, target in found.relations:
                access = union(document.access, links.access(source), links.access(target))
                said[source, predicate, target] = Relation(source, predicate, target, {}, uid, access)
            about = tuple(dict.fromkeys([*declared, *found.mentions]))
            texts.append(
                Passage(
                    f"{uid}#{passage.order}", uid, passage.title, passage.text, passage.order, about, document.access
                )
            )
        number = int(hashlib.sha256(uid.encode()).hexdigest()[:8], 16) % BUCKETS
        bucket = buckets.setdefault(f"documents/{document.source}/{number:02d}", ([], [], []))
        bucket[0].append(node)
        bucket[1].extend([*mentioned.values(), *said.values()])
        bucket[2].extend(texts)
    made.parts = [Part(name, tuple(n), tuple(r), tuple(p)) for name, (n, r, p) in sorted(buckets.items())]
    return made


def _aliases(document: Document) -> tuple[str, ...]:
    """The key of a table's row is a name of its document."""
    return (document.uid.rpartition("/")[2],) if document.file.endswith((".csv", ".tsv")) else ()
