"""Finds the declared graph query that a question asks for, and its parameters in the question.

A question is compared with the phrases declared beside each query, most by what they mean, where an embedder is given,
and by the words they share, weighted by how few phrases have them (Sparck Jones 1972,
https://doi.org/10.1108/eb026526). The things that it names stand in the comparison as their kind, as the phrases' holes
do. A query that leaves out what the question names, be it known or not, would answer another question; one that lacks
a parameter answers none. These, and what fits two queries equally well, are left to the other ways of retrieval.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.guarded import DeclaredQuery

# From the declared phrases, each asked while it was left out: 19 of 20 are as near to another of their own query, and
# 9 of 10 less near to any other query's. WORDS_ACCEPT is of words alone, where there is no embedder.
ACCEPT, WORDS_ACCEPT, CLEAR = 0.55, 0.5, 0.03
WORDS = 0.2
MOST_SPANS, MOST_ALIKE = 12, 4
_HOLE = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[^\W_]+")
# A capital within a sentence; the first word of one has it always, and "I" is none.
_NAME = re.compile(r"(?<=[\w,;:'\"(/-] )[\"'(]?([A-Z][^\W_]+)")
_LAST = re.compile(r"([^\W_]+)[^\w]*$")
_DATE = re.compile(r"\b(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?\b")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_MONTH = re.compile(rf"\b({'|'.join(_MONTHS)})\b(?:\s+(?:of\s+)?(\d{{4}}))?", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.-])(\d{1,3})(?![\w.-])")
_ENDINGS = (("ies", "es", "s"), ("ing", "ed", "er", "ly", "ion", "ure"))


@dataclass(frozen=True)
class Entity:
    """A thing that the question names; ``span`` are the words by which it does."""

    uid: str
    kind: str
    span: str


@dataclass(frozen=True)
class Chosen:
    """A query with its parameters, and how near the question is to the ``phrase``, 0 to 1."""

    query: DeclaredQuery
    parameters: dict[str, Any]
    score: float
    phrase: str


def _stem(word: str) -> str:
    """Without the endings of number, of verbs, and of who or what does something."""
    for endings in _ENDINGS:
        ending = next((e for e in endings if word.endswith(e) and len(word) > len(e) + 2), "")
        word = word.removesuffix(ending) if not word.endswith("ss") else word
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _words(text: str) -> set[str]:
    return {_stem(word) for word in _WORD.findall(text.lower())}


class Phrases:
    """The declared queries' phrases, to compare questions with.

    Args:
        meaning: gives a unit vector for each text; None compares words alone.
    """

    def __init__(
        self,
        queries: Sequence[DeclaredQuery],
        meaning: Callable[[Sequence[str]], NDArray[np.float32]] | None = None,
    ) -> None:
        self._queries = list(queries)
        self._kinds = {p.kind for query in queries for p in query.parameters.values() if p.kind is not None}
        self._phrases = [(query, phrase) for query in queries for phrase in query.questions]
        texts = [_bare(query, phrase) for query, phrase in self._phrases]
        self._bags = [_words(text) for text in texts]
        self._said = {word for query in queries for word in _words(" ".join((query.description, *query.questions)))}
        seen = Counter(word for bag in self._bags for word in bag)
        total = len(self._bags)
        self._weight = {word: math.log(1 + total / count) for word, count in seen.items()}
        self._rare = math.log(1 + total) if total else 1.0
        self._meaning = meaning
        self._vectors = meaning(texts) if meaning is not None and texts else None

    def choose(self, question: str, entities: Sequence[Entity]) -> Chosen | None:
        """The query that the question asks for, or None."""
        named = _named(question, entities, self._kinds)
        if self._unknown(question, entities):
            return None
        asked: dict[str, list[float]] = {}
        found: list[Chosen] = []
        for query in self._queries:
            took = taken(query, question, named)
            if took is None or _left_out(question, named, took[1]):
                continue
            bare = _masked(question, took[1])
            if bare not in asked:
                asked[bare] = self._scores(bare)
            of_query = [
                (asked[bare][place], phrase) for place, (one, phrase) in enumerate(self._phrases) if one is query
            ]
            if of_query:
                score, phrase = max(of_query, key=lambda pair: pair[0])
                found.append(Chosen(query, took[0], score, phrase))
        found.sort(key=lambda chosen: (-chosen.score, chosen.query.name))
        least = WORDS_ACCEPT if self._vectors is None else ACCEPT
        if not found or found[0].score < least:
            return None
        if len(found) > 1 and found[0].score - found[1].score < CLEAR:
            return None
        return found[0]

    def _unknown(self, question: str, entities: Sequence[Entity]) -> bool:
        """Whether a word that is written as a name, not at the beginning, is of no thing and no phrase's."""
        for entity in entities[:MOST_SPANS]:
            question = _span(entity.span).sub(" ", question)
        names = _NAME.findall(_plain(_MONTH.sub(" ", _DATE.sub(" ", question))))
        return any(_stem(name.lower()) not in self._said for name in names)

    def _scores(self, bare: str) -> list[float]:
        asked = _words(bare)
        lexical = [self._alike(asked, bag) for bag in self._bags]
        if self._vectors is None or self._meaning is None or not bare.strip():
            return lexical
        near = self._vectors @ self._meaning([bare])[0]
        return [WORDS * word + (1 - WORDS) * float(vector) for word, vector in zip(lexical, near, strict=True)]

    def _alike(self, asked: set[str], bag: set[str]) -> float:
        union = self._of(asked | bag)
        return self._of(asked & bag) / union if union else 0.0

    def _of(self, words: set[str]) -> float:
        return sum(self._weight.get(word, 0.5 * self._rare) for word in words)


def _spoken(kind: str) -> str:
    """A kind as words: ``SafetyValve`` is "safety valve"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind).lower()


def _bare(query: DeclaredQuery, phrase: str) -> str:
    def kind(hole: re.Match[str]) -> str:
        parameter = query.parameters.get(hole[1])
        return _spoken(parameter.kind) if parameter is not None and parameter.kind else " "

    return _plain(_HOLE.sub(kind, phrase))


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _masked(question: str, used: Sequence[Entity]) -> str:
    """The question with the kinds of things in place of their names, and without days."""
    for entity in sorted(used, key=lambda entity: -len(entity.span)):
        question = _span(entity.span).sub(f" {_spoken(entity.kind)} ", question)
    return _plain(_MONTH.sub(" ", _DATE.sub(" ", question)))


def _span(span: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(span)}(?!\w)", re.IGNORECASE)


def _named(question: str, entities: Sequence[Entity], kinds: set[str]) -> list[Entity]:
    """Things of some kinds in the order of the question, those written as names before those that are plain words."""
    placed: dict[tuple[str, str], tuple[bool, int, Entity]] = {}
    for entity in entities[:MOST_SPANS]:
        found = _span(entity.span).search(question)
        if entity.kind in kinds and found is not None:
            placed.setdefault((entity.kind, entity.uid), (found[0].islower(), found.start(), entity))
    return [entity for *_, entity in sorted(placed.values(), key=lambda item: (item[0], item[1]))]


def _left_out(question: str, named: Sequence[Entity], used: Sequence[Entity]) -> bool:
    """Whether something is written as a name that is in no used one; a plain word may be a thing's code by chance."""
    return any(
        (found := _span(entity.span).search(question)) is not None
        and not found[0].islower()
        and not any(_span(entity.span).search(other.span) or _span(other.span).search(entity.span) for other in used)
        for entity in named
    )


def taken(
    query: DeclaredQuery, question: str, entities: Sequence[Entity]
) -> tuple[dict[str, Any], list[Entity]] | None:
    """Parameters found in a question, and the things that they name; None when a required one is not there.

    Args:
        entities: in the order of the question.
    """
    things = _things(query, question, entities)
    dates = _dates(question)
    numbers = [int(text) for text in _NUMBER.findall(_DATE.sub(" ", question))]
    found: dict[str, Any] = {}
    for name, parameter in query.parameters.items():
        value: Any = None
        if name in things:
            value = things[name].uid
        elif parameter.kind is None and parameter.type == "date" and dates:
            value = dates.pop(0)
        elif parameter.kind is None and parameter.type == "integer" and numbers:
            value = numbers.pop(0)
        if value is not None:
            found[name] = value
        elif parameter.default is None and parameter.required:
            return None
    return found, list(things.values())


def _things(query: DeclaredQuery, question: str, entities: Sequence[Entity]) -> dict[str, Entity]:
    """The thing of each parameter that names one.

    Two of a kind go where the word before them is the word before their hole in a phrase ("from", "to"); where no word
    tells, in the order of the question.
    """
    by_kind: dict[str, list[str]] = {}
    for name, parameter in query.parameters.items():
        if parameter.kind is not None:
            by_kind.setdefault(parameter.kind, []).append(name)
    found: dict[str, Entity] = {}
    for kind, names in by_kind.items():
        some = [entity for entity in entities if entity.kind == kind][:MOST_ALIKE]
        if len(names) > 1 and len(some) >= len(names):
            before = {name: _before_hole(query, name) for name in names}
            said = [_before(question, entity.span) for entity in some]
            best = max(
                permutations(range(len(some)), len(names)),
                key=lambda order: (
                    sum(said[i] in before[name] for name, i in zip(names, order, strict=True)),
                    [-i for i in order],
                ),
            )
            found |= {name: some[i] for name, i in zip(names, best, strict=True)}
        else:
            found |= dict(zip(names, some, strict=False))
    return found


def _before_hole(query: DeclaredQuery, name: str) -> set[str]:
    heads = [phrase.partition(f"{{{name}}}")[0] for phrase in query.questions if f"{{{name}}}" in phrase]
    return {last[1].lower() for head in heads if (last := _LAST.search(head)) is not None}


def _before(question: str, span: str) -> str:
    found = _span(span).search(question)
    last = _LAST.search(question[: found.start()]) if found is not None else None
    return last[1].lower() if last is not None else ""


def _dates(question: str) -> list[str]:
    found = [
        (m.start(), f"{m[1]}-{m[2] or '01'}-{m[3] or '01'}")
        for m in _DATE.finditer(question)
        if 1900 <= int(m[1]) <= 2100
    ]
    months = [(m.start(), int(m[2] or 0), _MONTHS.index(m[1].lower()) + 1) for m in _MONTH.finditer(question)]
    years = [int(text[:4]) for _, text in found]
    for at, year, month in months:
        if year or years:
            found = [(where, text) for where, text in found if text != f"{year or years[0]}-01-01"]
            found.append((at, f"{year or years[0]}-{month:02d}-01"))
    return [text for _, text in sorted(found)]
