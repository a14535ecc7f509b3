"""Words that are at most one or two edits from a known one, by neighbourhoods of deletions (Bocek et al. 2007).

A word is entered under all strings that one or two deletions make of it; two words within that distance share one.
Only the first letters of long words are entered, which keeps the neighbourhoods small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONG = 5, 9  # letters: below the first nothing is mended, from the second on two edits are
PREFIX = 9


@dataclass(frozen=True)
class Spelling:
    """``hashes`` (sorted) of deletions, and for each the place in ``words`` of the word that it came from."""

    words: Sequence[str]
    hashes: NDArray[np.uint32]
    places: NDArray[np.int32]

    def near(self, word: str) -> list[tuple[int, str]]:
        """(edits, known word) within the distance that the known word's length allows, nearest first."""
        if len(word) < SHORTEST - 1 or not word.isalpha():
            return []
        wanted = np.array(sorted({crc32(each.encode()) for each in _entered(word, asked=True)}), np.uint32)
        low, high = np.searchsorted(self.hashes, wanted, "left"), np.searchsorted(self.hashes, wanted, "right")
        rows = {int(p) for a, b in zip(low, high, strict=True) for p in self.places[a:b]}
        found = []
        for known in (self.words[row] for row in rows):
            most = allowed(known)
            if known != word and (edits := distance(word, known, most)) <= most:
                found.append((edits, known))
        return sorted(found)


def allowed(word: str) -> int:
    """Edits that a known word tolerates; none when it has a digit, since another code is another thing."""
    return 0 if len(word) < SHORTEST or not word.isalpha() else 1 if len(word) < LONG else 2


def build(words: Iterable[str]) -> Spelling:
    """The neighbourhoods of known words."""
    kept = sorted({word for word in words if allowed(word)})
    hashes, places = [], []
    for place, word in enumerate(kept):
        for entered in _entered(word):
            hashes.append(crc32(entered.encode()))
            places.append(place)
    order = np.argsort(np.array(hashes, np.uint32), kind="stable")
    return Spelling(kept, np.array(hashes, np.uint32)[order], np.array(places, np.int32)[order])


def _entered(word: str, *, asked: bool = False) -> set[str]:
    """What a word is entered under, or looked up by: one deletion of the whole, two of a long word's beginning."""
    made = {word} | {word[:i] + word[i + 1 :] for i in range(len(word))}
    if len(word) >= LONG - (2 if asked else 0):
        head = word[:PREFIX]
        made.add(head)
        for count in (1, 2):
            for gone in combinations(range(len(head)), count):
                made.add("".join(letter for i, letter in enumerate(head) if i not in gone))
    return made


def distance(one: str, two: str, most: int) -> int:
    """Edits (insert, delete, replace, swap neighbours) between two words, or ``most + 1`` when there are more."""
    if abs(len(one) - len(two)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(two) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, other in enumerate(two, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == two[j - 2] and one[i - 2] == other:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
