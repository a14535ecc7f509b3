"""BM25 (Robertson and Zaragoza 2009, https://doi.org/10.1561/1500000019) as a sparse matrix of terms by passages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lexical:
    """``weights`` is a CSR matrix (terms, passages): what a term of the question adds to a passage's score."""

    vocabulary: dict[str, int]
    weights: Any

    def scores(self, question: Iterable[str]) -> NDArray[np.float64]:
        """Shape (passages,); 0 where no term is shared. A term counts once however often the question has it."""
        rows = sorted({self.vocabulary[term] for term in question if term in self.vocabulary})
        if not rows:
            return np.zeros(self.weights.shape[1])
        return np.asarray(self.weights[rows].sum(axis=0), float).ravel()

    def frequency(self, term: str) -> int:
        """In how many passages a term stands."""
        row = self.vocabulary.get(term)
        return 0 if row is None else int(self.weights.indptr[row + 1] - self.weights.indptr[row])


def fit(passages: Sequence[Sequence[str]], k1: float, b: float) -> Lexical:
    """The matrix of passages, each given as its terms."""
    from scipy.sparse import csr_matrix

    counts = [Counter(terms) for terms in passages]
    vocabulary = {term: number for number, term in enumerate(sorted(set().union(*counts)))}
    lengths = np.array([sum(c.values()) for c in counts], float)
    mean = float(lengths.mean()) if len(lengths) and lengths.any() else 1.0
    nonzero = sum(len(c) for c in counts)
    rows, columns, values = np.empty(nonzero, np.int32), np.empty(nonzero, np.int32), np.empty(nonzero)
    at = 0
    for column, count in enumerate(counts):
        for term in sorted(count):
            rows[at], columns[at], values[at] = vocabulary[term], column, count[term]
            at += 1
    frequencies = np.bincount(rows, minlength=len(vocabulary))
    rarity = np.array([math.log(1 + (len(counts) - f + 0.5) / (f + 0.5)) for f in frequencies])
    damping = k1 * (1 - b + b * lengths / mean)
    values = rarity[rows] * values * (k1 + 1) / (values + damping[columns]) if nonzero else values
    shape = (len(vocabulary), len(counts))
    return Lexical(vocabulary, csr_matrix((values.astype(np.float32), (rows, columns)), shape=shape))
