"""Which entities and phrases a question names, also where it misspells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

from serving.retrieval.ranking.dictionary import Dictionary, Entry, Key, Match, may_begin
from serving.retrieval.ranking.entities import Entity, resolved
from serving.retrieval.ranking.results import Linked
from serving.retrieval.ranking.spelling import Spelling
from serving.retrieval.ranking.text import STOPWORDS, Token, is_character, key, stem

READINGS = 4  # of a misspelt word, nearest first
TRIED = 64  # combinations of readings for one name
MENDED = 64  # words of one question that are looked up in the neighbourhoods
LONG_NAME = 12  # letters
RARE = 0.01  # share of passages up to which a lower-case word may name what is written with a capital


@dataclass(frozen=True)
class Linker:
    """``names`` of entities, ``phrases`` by words; ``frequency``: in how many of ``passages`` a term stands."""

    names: Dictionary
    phrases: Mapping[Key, int]
    spelling: Spelling
    frequency: Callable[[str], int]
    passages: int

    def matches(self, found: Sequence[Token]) -> list[Match]:
        """Names in the question, leftmost and longest; a misspelt one only where it is longer than a right one."""
        readings = self._readings(found)
        matches: list[Match] = []
        start = 0
        while start < len(found):
            right = self.names.at(found, start, self._fits)
            wrong = self._misspelt(found, start, readings)
            longest = wrong if wrong and (not right or wrong.end > right.end) else right
            if longest:
                matches.append(longest)
            start = longest.end if longest else start + 1
        return matches

    def _fits(self, span: Sequence[Token], entry: Entry) -> bool:
        """Whether words of a question are meant as a name: people write without capitals, but not of common words."""
        if not entry.proper:
            return True
        means = [token for token in span if token.word not in STOPWORDS and not is_character(token.word)]
        most = max(3, RARE * self.passages)
        common = means and all(self.frequency(stem(token.word)) > most for token in means)
        return not common or any(token.capital and not token.first for token in means)

    def _readings(self, found: Sequence[Token]) -> list[list[tuple[int, str]]]:
        """For each word, what it may be: itself, or known words nearby."""
        left = MENDED
        readings = []
        for token in found:
            near: list[tuple[int, str]] = []
            if left and token.word not in STOPWORDS and token.word.isalpha():
                left -= 1
                near = self.spelling.near(token.word)[:READINGS]
            readings.append([(0, token.word), *near])
        return readings

    def _misspelt(self, found: Sequence[Token], start: int, readings: list[list[tuple[int, str]]]) -> Match | None:
        """The longest name that begins at a word when some words are mended, with the fewest edits."""
        if not may_begin(found[start]):
            return None
        lengths = sorted({n for _, word in readings[start] for n in self.names.lengths.get(word, ())}, reverse=True)
        for length in lengths:
            spans = readings[start : start + length]
            if len(spans) < length or all(len(span) == 1 for span in spans):
                continue
            tried = sorted(islice(product(*spans), TRIED), key=lambda words: sum(edits for edits, _ in words))
            for words in tried:
                edits = sum(e for e, _ in words)
                entries = self.names.entries.get(tuple(word for _, word in words), ())
                mended = found[start : start + length]
                if edits and entries and self._may_differ(mended, words, edits):
                    return Match(start, start + length, entries, edits)
        return None

    def _may_differ(self, span: Sequence[Token], words: Sequence[tuple[int, str]], edits: int) -> bool:
        """Two edits at most, and only for words that no passage has, unless the rest of the name is long."""
        stems = [(stem(token.word), stem(word)) for token, (_, word) in zip(span, words, strict=True)]
        unknown = not any(self.frequency(written) for written, read in stems if written != read)
        return edits <= 2 and (unknown or (len(span) > 2 and sum(len(token.word) for token in span) >= LONG_NAME))

    def named_phrases(self, found: Sequence[Token], matches: Sequence[Match]) -> list[int]:
        """Phrases of the question outside names."""
        covered = {place for match in matches for place in range(match.start, match.end)}
        named = []
        for start in range(len(found)):
            for length in (4, 3, 2, 1):
                span = range(start, min(start + length, len(found)))
                phrase = self.phrases.get(key(found[span.start : span.stop]))
                if len(span) == length and phrase is not None and not covered.intersection(span):
                    named.append(phrase)
                    break
        return list(dict.fromkeys(named))


def linked(question: str, found: Sequence[Token], matches: Sequence[Match],
           entities: Sequence[Entity]) -> tuple[list[tuple[int, float]], list[Linked]]:  # fmt: skip
    """The entities that matches mean, with their share of the match, and the same for people; each once."""
    covered = {place for match in matches for place in range(match.start, match.end)}
    words = frozenset(token.word for place, token in enumerate(found) if place not in covered)
    weights: dict[int, float] = {}
    shown: dict[int, Linked] = {}
    for match in matches:
        how = {entry.entity: entry.how for entry in match.entries}
        text = question[found[match.start].start : found[match.end - 1].end]
        for number, share in resolved(match.entries, words):
            weights[number] = max(weights.get(number, 0.0), share)
            entity = entities[number]
            shown.setdefault(number, Linked(entity.uid, entity.name, text, "spelling" if match.edits else how[number]))
    return list(weights.items()), list(shown.values())
