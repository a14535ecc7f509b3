"""Tells which thing a name in a document speaks of.

Fellegi & Sunter 1969 for the shape (compare, score, accept above a threshold, leave the rest to people); names are
compared by their words, each weighted by how few of the known names have it, so that a word that many share
("LINES", "INC") cannot make two names alike. A name that two things fit equally well is left open.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serving.retrieval.ranking.text import LEGAL_FORMS

ACCEPT, CLEAR = 0.72, 0.12
_PARENTHESES = re.compile(r"\(([^)]*)\)")
_TRADING = re.compile(r"\b(?:d/?b/?a|doing business as|trading as|t/a)\b[:.]?", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
LEGAL = LEGAL_FORMS | {"the", "and", "of"}


@dataclass(frozen=True, slots=True)
class Match:
    """``uid`` of the thing, with a score in [0, 1] and the name that it was found by."""

    uid: str
    score: float
    name: str


def words(name: str) -> tuple[str, ...]:
    """The words of a name: without accents, case, punctuation and legal forms."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or name
    found = tuple(word.lower() for word in _WORD.findall(plain.replace("'", "").replace(".", "")))
    kept = tuple(word for word in found if word not in LEGAL)
    return kept or found


def readings(name: str) -> list[str]:
    """The names that one field may hold: as written, before and after "doing business as", in and out of brackets."""
    found = [name]
    bare = _PARENTHESES.sub(" ", name)
    found += [bare, *_PARENTHESES.findall(name)]
    for text in list(found):
        found += _TRADING.split(text)
    return [text.strip(" ,;-") for text in dict.fromkeys(found) if _WORD.search(text)]


class Resolver:
    """Known names of one kind: uid to names and aliases.

    Args:
        known: names of each thing.
        corpus: names that occur in documents; their frequent words are of the trade and weigh little.
    """

    def __init__(self, known: Mapping[str, Sequence[str]], corpus: Iterable[str] = ()) -> None:
        self._names: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for uid, names in known.items():
            for name in names:
                if key := words(name):
                    self._names[key].add(uid)
        seen: Counter[str] = Counter()
        total = 0
        for one in [*(" ".join(key) for key in self._names), *corpus]:
            total += 1
            seen.update(set(words(one)))
        self._weight = {word: math.log(1 + total / count) for word, count in seen.items()}
        self._rare = math.log(1 + total) if total else 1.0
        self._by_word: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        self._squeezed: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for key in self._names:
            self._squeezed["".join(key)].append(key)
            for word in key:
                self._by_word[word].add(key)

    def resolve(self, name: str) -> Match | None:
        """The thing that a name speaks of; None when none is near enough, or two are equally near."""
        best: dict[str, Match] = {}
        for text in readings(name):
            for match in self._candidates(words(text), text):
                if match.uid not in best or best[match.uid].score < match.score:
                    best[match.uid] = match
        ranked = sorted(best.values(), key=lambda match: (-match.score, match.uid))
        if not ranked or ranked[0].score < ACCEPT:
            return None
        if len(ranked) > 1 and ranked[0].score - ranked[1].score < CLEAR and ranked[1].score >= ACCEPT:
            return None
        return ranked[0]

    def _candidates(self, key: tuple[str, ...], text: str) -> Iterable[Match]:
        if key in self._names:
            yield from (Match(uid, 1.0, text) for uid in self._names[key])
            return
        keys = {other for word in key for other in self._by_word.get(word, ())}
        squeezed = "".join(key)
        if len(squeezed) > 3:
            for other in self._squeezed.get(squeezed, ()):
                yield from (Match(uid, 0.98, text) for uid in self._names[other])
        for other in keys:
            score = self._alike(key, other)
            if score > 0:
                yield from (Match(uid, score, text) for uid in self._names[other])

    def _alike(self, a: tuple[str, ...], b: tuple[str, ...]) -> float:
        """Weighted share of the words that both have, of the words that either has; a first word counts double."""
        own, other = set(a), set(b)
        shared = own & other
        if len(other) == 1 and len(own) > 1 and len(next(iter(other))) <= 2:
            return 0.0  # a two-letter code inside a longer name is chance
        total = sum(self._of(word, a, b) for word in own | other)
        return sum(self._of(word, a, b) for word in shared) / total if total else 0.0

    def _of(self, word: str, a: tuple[str, ...], b: tuple[str, ...]) -> float:
        weight = self._weight.get(word, self._rare)
        return 2 * weight if word in (a[0], b[0]) else weight
