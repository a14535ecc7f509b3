"""What the graph's nodes are: nodes of the dictionary, documents by their titles, noun phrases of several passages."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.retrieval.elements import Node, Passage, Relation
from serving.retrieval.ranking import dictionary, graph, lexical
from serving.retrieval.ranking.dictionary import Dictionary, How, Key
from serving.retrieval.ranking.parameters import Parameters
from serving.retrieval.ranking.text import Token, key, noun_pairs, proper_names, terms, tokens

PHRASE = "phrase:"
AMBIGUOUS = 8  # a name that more entities share says nothing
BEGINNING = 4  # letters that words of one stem share at least
COMMON = 0.05  # share of passages; a phrase of more says nothing


@dataclass(frozen=True)
class Entity:
    """A node of the graph; ``frequency``: the number of passages beside it."""

    uid: str
    name: str
    frequency: int = 0


@dataclass(frozen=True)
class Parts:
    """What a view is assembled from; ``names`` are those that the dictionary is made of."""

    entities: tuple[Entity, ...]
    names: tuple[tuple[int, str, How], ...]
    lexical: lexical.Lexical
    graph: graph.Graph


def document_of(passage: Passage) -> str:
    """The uid of the node that a passage's title names."""
    return passage.document or passage.uid


def known_names(nodes: Sequence[Node], passages: Sequence[Passage]) -> tuple[list[Entity], list[tuple[int, str, How]]]:
    """Entities of nodes and documents, and all names with the entity's number, each once."""
    entities = {node.uid: Entity(node.uid, node.name) for node in nodes}
    names: dict[tuple[str, str], How] = {}
    for node in nodes:
        names.setdefault((node.uid, node.name), "name")
        for alias in node.aliases:
            names.setdefault((node.uid, alias), "alias")
    for passage in passages:
        uid = document_of(passage)
        entities.setdefault(uid, Entity(uid, passage.title))
        if passage.title:
            names.setdefault((uid, passage.title), "title")
    ordered = sorted(entities)
    number = {uid: i for i, uid in enumerate(ordered)}
    return [entities[uid] for uid in ordered], [(number[uid], name, how) for (uid, name), how in names.items()]


def resolved(entries: Sequence[dictionary.Entry], words: frozenset[str]) -> list[tuple[int, float]]:
    """(entity, share) for a name, shares summing to 1: those first whose qualifier shares a word with the context."""
    distinct = {entry.entity: entry for entry in entries}
    if len(distinct) > 1:
        told = {n: e for n, e in distinct.items() if any(alike(q, w) for q in e.qualifier for w in words)}
        distinct = told or distinct
    if len(distinct) > AMBIGUOUS:
        return []
    return [(number, 1 / len(distinct)) for number in sorted(distinct)]


def alike(one: str, two: str) -> bool:
    """Whether two words have one stem, as far as their beginnings tell: ``director`` and ``directed``."""
    if one == two:
        return True
    shorter, longer = sorted((len(one), len(two)))
    needed = max(BEGINNING, math.ceil(0.6 * longer))
    return shorter >= needed and one[:needed] == two[:needed]


def mentions(found: Sequence[Token], names: Dictionary) -> list[tuple[dictionary.Match, list[tuple[int, float]]]]:
    """Names in a passage and the entities that they may mean."""
    matches = list(names.matches(found))
    words = frozenset(token.word for token in found) if any(len(m.entries) > 1 for m in matches) else frozenset()
    return [(match, resolved(match.entries, words)) for match in matches]


def assemble(passages: Sequence[Passage], nodes: Sequence[Node], relations: Sequence[Relation],
             parameters: Parameters) -> Parts:  # fmt: skip
    """Entities, words and edges of elements that are all visible to the caller, in order of uid."""
    entities, names = known_names(nodes, passages)
    number = {entity.uid: i for i, entity in enumerate(entities)}
    known = dictionary.build(names)
    words: list[list[str]] = []
    mentioned: list[dict[int, float]] = []
    phrases: dict[Key, dict[int, str]] = defaultdict(dict)
    for place, passage in enumerate(passages):
        title, text = tokens(passage.title), tokens(passage.text)
        words.append([*terms(title), *terms(text)])
        weights: dict[int, float] = defaultdict(float)
        covered: set[int] = set()
        for match, meant in mentions(text, known):
            covered.update(range(match.start, match.end))
            for entity, share in meant:
                weights[entity] = max(weights[entity], share)
        weights.update({number[uid]: 1.0 for uid in passage.mentions if uid in number})
        weights.pop(number[document_of(passage)], None)
        mentioned.append(weights)
        for start, end in [*proper_names(text), *noun_pairs(text)]:
            if not covered.intersection(range(start, end)):
                phrases[key(text[start:end])][place] = passage.text[text[start].start : text[end - 1].end]
    most = max(3, COMMON * len(passages))
    kept = sorted(words for words, places in phrases.items() if 2 <= len(places) <= most)
    beside: list[dict[int, float]] = [{} for _ in entities] + [dict.fromkeys(phrases[words], 1.0) for words in kept]
    for place, weights in enumerate(mentioned):
        for entity, share in weights.items():
            beside[entity][place] = share
    entities += [Entity(PHRASE + " ".join(words), next(iter(phrases[words].values()))) for words in kept]
    edges = _edges(passages, beside, number, parameters)
    for relation in relations:
        ends = sorted((number[relation.source], number[relation.target]))
        if ends[0] != ends[1]:
            edges[ends[0], ends[1]] = parameters.relation_weight
    counted = tuple(Entity(e.uid, e.name, len(beside[i])) for i, e in enumerate(entities))
    size = len(entities) + len(passages)
    return Parts(counted, tuple(names), lexical.fit(words, parameters.k1, parameters.b), graph.build(edges, size))


def _edges(passages: Sequence[Passage], beside: Sequence[Mapping[int, float]], number: Mapping[str, int],
           parameters: Parameters) -> dict[tuple[int, int], float]:  # fmt: skip
    """Edges between entities and passages."""
    edges: dict[tuple[int, int], float] = {}
    for entity, places in enumerate(beside):
        kind = parameters.phrase_weight if entity >= len(number) else 1.0
        weight = kind * rarity(len(places), len(passages))
        for place, share in places.items():
            edges[entity, len(beside) + place] = weight * share
    for place, passage in enumerate(passages):
        edges[number[document_of(passage)], len(beside) + place] = parameters.title_weight
    return {ends: weight for ends, weight in edges.items() if weight > 0}


def rarity(frequency: int, passages: int) -> float:
    """Inverse document frequency, from 1 for what stands in one passage or none to about 0 for what stands in all."""
    return math.log((passages + 1) / max(frequency, 1)) / math.log(passages + 1) if passages else 1.0
