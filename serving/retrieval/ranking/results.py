"""What a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.retrieval.elements import Passage
from serving.retrieval.ranking.dictionary import How

METHODS = ("pagerank", "lexical", "dense", "names")


@dataclass(frozen=True)
class Hit:
    """A passage, its fused score, and by method at which place (from 1) that method had it, where it had it at all."""

    passage: Passage
    score: float
    ranks: Mapping[str, int]


@dataclass(frozen=True)
class Linked:
    """An entity that the question names: by the words ``matched``, which are a name, an alias, a title or misspelt."""

    uid: str
    name: str
    matched: str
    how: How


@dataclass(frozen=True)
class Found:
    """Passages, best first; entities in the order in which the question names them."""

    passages: tuple[Hit, ...] = ()
    entities: tuple[Linked, ...] = ()
