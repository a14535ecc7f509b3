"""Small worlds of labelled things, relations and passages: each text that somebody may not see has a word of its own.

Such a word (a canary) stands nowhere else, so that an answer that has it shows what its element says or is called.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assets.knowledge.communities import KIND, community_parts
from assets.knowledge.staged import Wanted, unique
from assets.knowledge.things import check
from serving.retrieval.access import joined, split, union, visible
from serving.retrieval.elements import Node, Part, Passage, Relation
from serving.retrieval.ranking.index import Index

LABELS = ("a", "b", "c")
ACCESSES = ("", "", "a", "b", "c", "a|b")
KINDS = ("Pump", "Site", "Supplier")
PREDICATES = ("AT", "FEEDS", "MADE_BY")
NAMES = ("Ada Lund", "Lund", "P-7", "Red Raven", "Raven (bird)", "Seal", "Lundin")
WORDS = ("wears", "bearing", "pump", "the", "was", "built", "by", "founder", "P7", "raven", "seal", "leaks", "oil")
CANARY = re.compile(r"\bq[a-z]{9}\b", re.IGNORECASE)
HOLDERS = [frozenset(x for i, x in enumerate(LABELS) if number >> i & 1) for number in range(8)]


@dataclass(frozen=True)
class World:
    """What there is, its communities apart, and the canaries in it."""

    part: Part
    canaries: tuple[str, ...]

    def seen_by(self, labels: frozenset[str]) -> World:
        """Without all that a caller may not see."""
        part = self.part
        return World(
            Part(
                part.name,
                tuple(n for n in part.nodes if visible(n.access, labels)),
                tuple(r for r in part.relations if visible(r.access, labels)),
                tuple(p for p in part.passages if visible(p.access, labels)),
            ),
            self.canaries,
        )

    def wanted(self) -> Wanted:
        """As it is published, with its communities."""
        return Wanted(unique([self.part, *community_parts([self.part])]), "english")

    def hidden_from(self, labels: frozenset[str]) -> set[str]:
        """Canaries that are in nothing that a caller sees."""
        part = self.seen_by(labels).part
        told = [json.dumps([asdict(one) for one in some]) for some in (part.nodes, part.relations)]
        told += [json.dumps([p.uid, p.document, p.title, p.text]) for p in part.passages]  # not whom it mentions
        return set(self.canaries) - canaries_of(" ".join(told))


def canaries_of(text: str) -> set[str]:
    return {word.lower() for word in CANARY.findall(text)}


def world(random_: random.Random, prefix: str = "", size: int = 7) -> World:
    """About ``size`` things, relations and passages.

    Args:
        prefix: begins the ids; and each label, and then all have the label ``prefix`` beside theirs.
    """
    made: list[str] = []

    def canary() -> str:
        made.append("q" + "".join(random_.choices("abcdefghijklmnoprstuvwxyz", k=9)))
        return made[-1]

    def access(*of: str) -> str:
        return union(random_.choice(ACCESSES), *of)

    nodes: list[Node] = []
    for place in range(random_.randint(size - 3, size + 2)):
        kind, word = random_.choice(KINDS) if place else KINDS[0], canary()
        name = random_.choice([word.capitalize(), f"{random_.choice(NAMES)} {word}", *NAMES])
        aliases = (random_.choice([*NAMES, canary()]),) if random_.random() < 0.4 else ()
        nodes.append(Node(f"{kind}:{prefix}{word}", kind, name, {"note": canary(), "size": 1}, aliases, access()))
    relations: dict[str, Relation] = {}
    for _ in range(random_.randint(size - 2, size + 4)):
        a, b = random_.choices(nodes, k=2)
        one = Relation(
            a.uid, random_.choice(PREDICATES), b.uid, {"since": canary()}, prefix, access(a.access, b.access)
        )
        relations[one.uid] = one
    documents: list[Node] = []
    passages: list[Passage] = []
    for _ in range(random_.randint(2, 4)):
        word = canary()
        title = random_.choice(["", random_.choice(NAMES), f"Report {word}"])
        document = Node(f"Document:{prefix}{word}", "Document", title or word, {}, (), access())
        documents.append(document)
        for order in range(random_.randint(1, 2)):
            own = access(document.access)
            spoken = [n.name for n in nodes if split(n.access) <= split(own)] or ["pump"]
            words = random_.choices([*WORDS, *NAMES, *spoken], k=random_.randint(3, 9))
            text = f"The {' '.join(words)} {canary()}. {' '.join(random_.choices(WORDS, k=4))} 1{order}."
            about = tuple(n.uid for n in random_.sample(nodes, min(2, len(nodes))))
            passages.append(Passage(f"{document.uid}#{order}", document.uid, title, text, order, about, own))
    part = Part(f"{prefix}world", (*nodes, *documents), tuple(relations.values()), tuple(passages))
    part = _prefixed(part, prefix) if prefix else part
    assert check([part]) == []
    return World(part, tuple(made))


def _prefixed(part: Part, prefix: str) -> Part:
    def access(old: str) -> str:
        return joined([prefix, *(f"{prefix}-{label}" for label in split(old))])

    return Part(
        part.name,
        tuple(Node(n.uid, n.kind, n.name, n.properties, n.aliases, access(n.access)) for n in part.nodes),
        tuple(Relation(r.source, r.predicate, r.target, r.properties, r.key, access(r.access)) for r in part.relations),
        tuple(
            Passage(p.uid, p.document, p.title, p.text, p.order, p.mentions, access(p.access)) for p in part.passages
        ),
    )


def question(random_: random.Random, some: World) -> str:
    """Words, names and canaries, of what the caller may not see as well."""
    names = [name for node in some.part.nodes for name in (node.name, *node.aliases)]
    words = random_.choices([*WORDS, *NAMES, *names, *names, *some.canaries], k=random_.randint(1, 7))
    if random_.random() < 0.2:
        words.insert(0, "overview of all groups:")
    return " ".join(words)


def indexes(wanted: Wanted) -> tuple[Index, Index]:
    """Of passages and of reports, as ``assets.knowledge.build`` makes them."""
    reports = [p for p in wanted.passages if p.document.startswith(f"{KIND}:")]
    others = [p for p in wanted.passages if not p.document.startswith(f"{KIND}:")]
    nodes = [n for n in wanted.nodes if n.kind != KIND]
    uids = {n.uid for n in nodes}
    return Index.build(others, nodes, [r for r in wanted.relations if r.target in uids]), Index.build(reports)


def shown(answer: Any, without: Collection[str] = ("question", "matched", "version", "span")) -> str:
    """An answer as text, without what repeats the question."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: kept(v) for k, v in value.items() if k not in without}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [kept(one) for one in value]
        return value

    return json.dumps(kept(answer), default=str)
