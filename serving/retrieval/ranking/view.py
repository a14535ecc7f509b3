"""What one set of accesses sees, as an index of its own: nothing in it depends on an element outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.elements import Node, Passage, Relation
from serving.retrieval.ranking import dictionary, spelling
from serving.retrieval.ranking.dictionary import Match
from serving.retrieval.ranking.entities import BEGINNING, PHRASE, Parts, alike, assemble, document_of, mentions, rarity
from serving.retrieval.ranking.fuse import fused, places, relative
from serving.retrieval.ranking.graph import shortest_path
from serving.retrieval.ranking.linking import Linker, linked
from serving.retrieval.ranking.parameters import Parameters
from serving.retrieval.ranking.results import Found, Hit
from serving.retrieval.ranking.text import STOPWORDS, Token, terms, tokens

Scores = NDArray[np.float64]
TEXTUAL = ("lexical", "dense")  # methods that weigh more the less of a question names entities
VAGUENESS = 3  # so that a few words beside a name add little
LEAST = 100  # passages whose similarity stands out
FILLING = 0.05  # of PageRank's weight stays where no entity is named, for places that words leave empty
FOCUSED = 32  # passages of the question's entities that are read again
NEAR = 6  # words around a mention in which a word of the question counts


@dataclass(frozen=True)
class View:
    """An index of passages and entities that its readers all may see; ``passages`` are in order of uid."""

    passages: tuple[Passage, ...]
    parts: Parts
    parameters: Parameters

    @cached_property
    def names(self) -> dictionary.Dictionary:
        return dictionary.build(self.parts.names)

    @cached_property
    def linker(self) -> Linker:
        phrases = {
            tuple(entity.uid.removeprefix(PHRASE).split(" ")): number
            for number, entity in enumerate(self.parts.entities)
            if number >= self.dictionary_size
        }
        words = {word for entry in self.names.entries for word in entry}
        return Linker(self.names, phrases, spelling.build(words), self.parts.lexical.frequency, len(self.passages))

    @cached_property
    def dictionary_size(self) -> int:
        """The first entity that is a phrase."""
        return 1 + max((number for number, _, _ in self.parts.names), default=-1)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The graph's node of each entity's uid; a passage may have the same."""
        return {entity.uid: i for i, entity in enumerate(self.parts.entities)}

    @cached_property
    def places(self) -> dict[str, int]:
        """The graph's node of each passage's uid."""
        return {passage.uid: len(self.parts.entities) + i for i, passage in enumerate(self.passages)}

    def search(self, question: str, limit: int, dense: Mapping[str, float] | None, methods: Collection[str]) -> Found:
        """See ``Index.search``."""
        if not self.passages:
            return Found()
        found = tokens(question)
        matches = self.linker.matches(found)
        weights, entities = linked(question, found, matches, self.parts.entities)
        covered = {place for match in matches for place in range(match.start, match.end)}
        rest = [token for place, token in enumerate(found) if place not in covered]
        lexical = self.parts.lexical.scores(terms(found))
        vague = self._uncovered(found, matches, rest) if weights else 1.0
        scores: dict[str, Scores] = {}
        if "lexical" in methods:
            scores["lexical"] = lexical
        if "dense" in methods and dense is not None:
            similarity = np.array([dense.get(passage.uid, 0.0) for passage in self.passages], float)
            scores["dense"] = _standing_out(np.clip(np.nan_to_num(similarity, posinf=0.0), 0, None))
        seeds = self._seeds(weights, self.linker.named_phrases(found, matches))
        if "names" in methods:
            scores["names"] = self._beside(seeds)
        if "pagerank" in methods:
            focus = self._focused([number for number, _ in weights], rest, lexical)
            scores["pagerank"] = self._walked(seeds, lexical, vague, focus)
        return Found(self._best(scores, vague, limit), tuple(entities))

    def _uncovered(self, found: Sequence[Token], matches: Sequence[Match], rest: Sequence[Token]) -> float:
        """The share of what the question says, by rarity in passages, that is not a name of an entity.

        Common words that together are a rare name count as rare.
        """
        named = 0.0
        for start, end, entries, _ in matches:
            rarest = max(rarity(self.parts.entities[e.entity].frequency, len(self.passages)) for e in entries)
            named += max(self._said(found[start:end]), (end - start) * rarest)
        said = self._said(rest)
        return said / (said + named) if said > 0 else 0.0

    def _said(self, words: Sequence[Token]) -> float:
        return sum(self._rarity(term) for term in sorted(set(terms(words))))

    def _rarity(self, term: str) -> float:
        frequency = self.parts.lexical.frequency(term)
        return rarity(frequency, len(self.passages)) if frequency else 0.0

    def _seeds(self, weights: Sequence[tuple[int, float]], phrases: Sequence[int]) -> Scores:
        """Weights of entities: rare ones weigh more; phrases less than names."""
        seeds = np.zeros(len(self.parts.entities))
        for kind, named in ((1.0, weights), (self.parameters.phrase_weight, [(n, 1.0) for n in phrases])):
            for number, share in named:
                seeds[number] = kind * share * rarity(self.parts.entities[number].frequency, len(self.passages))
        return seeds

    def _beside(self, seeds: Scores) -> Scores:
        """By passage the weight of the question's entities that it is about or mentions."""
        adjacency, size = self.parts.graph.adjacency, len(self.parts.entities)
        rows = np.flatnonzero(seeds)
        return np.asarray(adjacency[rows].T @ seeds[rows]).ravel()[size:] if len(rows) else np.zeros(len(self.passages))

    def _walked(self, seeds: Scores, lexical: Scores, vague: float, focus: Mapping[int, Scores]) -> Scores:
        """PageRank of passages, from the question's entities and from the passages that share most of its words."""
        weight = self.parameters.text_weight * vague if seeds.any() and vague < 1 else 1.0
        text = np.zeros(len(self.passages))
        best = np.argsort(-lexical, kind="stable")[: self.parameters.text_passages]
        text[best] = lexical[best]
        start = np.concatenate([_shares(seeds) * (1 - weight), _shares(text) * weight])
        return self.parts.graph.pagerank(start, self.parameters.restart, focus)[len(seeds) :]

    def _focused(self, named: Sequence[int], rest: Sequence[Token], lexical: Scores) -> dict[int, Scores]:
        """In passages about the question's entities: mentions beside the question's other words weigh more."""
        asked: dict[str, set[str]] = defaultdict(set)
        for token in rest:
            if token.word not in STOPWORDS:
                asked[token.word[:BEGINNING]].add(token.word)
        if not asked or not self.parameters.focus:
            return {}
        size = len(self.parts.entities)
        about = [
            node
            for number in named
            for node in map(int, self.parts.graph.neighbours(number)[0])
            if node >= size and self.numbers[document_of(self.passages[node - size])] == number
        ]
        about.sort(key=lambda node: (-lexical[node - size], node))
        return {node: self._focus(node, asked) for node in about[:FOCUSED]}

    def _focus(self, node: int, asked: Mapping[str, Collection[str]]) -> Scores:
        """The weights of a passage's edges, those to entities beside one of the words that are asked for raised."""
        beside, weights = self.parts.graph.neighbours(node)
        text = tokens(self.passages[node - len(self.parts.entities)].text)
        hits = [
            place
            for place, token in enumerate(text)
            if any(alike(token.word, word) for word in asked.get(token.word[:BEGINNING], ()))
        ]
        raised: set[int] = set()
        for match, meant in mentions(text, self.names):
            if any(match.start - NEAR <= place < match.end + NEAR for place in hits):
                raised.update(entity for entity, _ in meant)
        return weights * np.array([1 + self.parameters.focus * (int(n) in raised) for n in beside])

    def _best(self, scores: Mapping[str, Scores], vague: float, limit: int) -> tuple[Hit, ...]:
        """The passages with the best fused scores."""
        methods = dict(scores)
        share = vague**VAGUENESS if "pagerank" in scores and len(scores) > 1 else 1.0
        weights = {name: self.parameters.weight(name) * (share if name in TEXTUAL else 1) for name in scores}
        if textual := [name for name in TEXTUAL if name in scores and "pagerank" in scores]:
            weights["pagerank"] *= max(1 - share, FILLING)
            # The walk's mass falls by a factor with each step, so its root is what adds up with the others.
            methods["pagerank"] = np.sqrt(methods["pagerank"])
            for name in textual:
                methods["pagerank"] = methods["pagerank"] * (1 + self.parameters.agreement * relative(scores[name]))
        if not any(weights.values()):  # what weighs nothing beside others still ranks alone
            weights = dict.fromkeys(weights, 1.0)
        total = fused(methods, weights, self.parameters.fusion)
        ranks = {name: places(each) for name, each in scores.items()}
        order = [int(i) for i in np.argsort(-total, kind="stable")[:limit] if total[i] > 0] if len(total) else []
        return tuple(
            Hit(self.passages[i], float(total[i]), {n: int(r[i]) for n, r in sorted(ranks.items()) if r[i]})
            for i in order
        )

    def path(self, hit: str, entities: Collection[str]) -> tuple[str, ...]:
        """See ``Index.path``."""
        sources = sorted({self.numbers[uid] for uid in entities if uid in self.numbers})
        if hit not in self.places:
            return ()
        size = len(self.parts.entities)
        found = shortest_path(self.parts.graph, sources, self.places[hit])
        return tuple(self.parts.entities[n].uid if n < size else self.passages[n - size].uid for n in found)


def _standing_out(similarity: Scores) -> Scores:
    """Similarities above that of the passage at place ``LEAST``: those of all passages are much alike."""
    if np.count_nonzero(similarity) <= LEAST:
        return similarity
    return np.clip(similarity - np.partition(similarity, -LEAST)[-LEAST], 0, None)


def _shares(values: Scores) -> Scores:
    total = values.sum()
    return values / total if total > 0 else values


def build(passages: Sequence[Passage], nodes: Sequence[Node], relations: Sequence[Relation],
          parameters: Parameters) -> View:  # fmt: skip
    """The view of elements that are all visible; what points to others is left out."""
    nodes = sorted(nodes, key=lambda node: node.uid)
    uids = {node.uid for node in nodes}
    seen = tuple(
        replace(passage, mentions=tuple(uid for uid in passage.mentions if uid in uids))
        for passage in sorted(passages, key=lambda passage: passage.uid)
    )
    related = sorted((r for r in relations if r.source in uids and r.target in uids), key=lambda r: r.uid)
    return View(seen, assemble(seen, nodes, related, parameters), parameters)
