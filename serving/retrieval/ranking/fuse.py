"""One order from several: a weighted sum of scores, or of reciprocal ranks (Cormack, Clarke and Buettcher 2009)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
RRF_K = 60


def places(scores: Scores) -> NDArray[np.int64]:
    """Place of each element, from 1, best first; 0 for those without a positive score. Equal scores: in their order."""
    order = np.argsort(-scores, kind="stable")
    found = np.zeros(len(scores), np.int64)
    found[order] = np.arange(1, len(scores) + 1)
    found[~(scores > 0)] = 0
    return found


def relative(scores: Scores) -> Scores:
    """Scores over the largest, from 0 to 1."""
    most = scores.max() if len(scores) else 0.0
    return np.clip(scores, 0, None) / most if most > 0 else np.zeros(len(scores))


def fused(methods: Mapping[str, Scores], weights: Mapping[str, float], fusion: str) -> Scores:
    """The fused scores, shape (passages,); what no method found has 0."""
    total: Scores = np.zeros(len(next(iter(methods.values()))) if methods else 0)
    for name in sorted(methods):
        scores = methods[name]
        if fusion == "rrf":
            at = places(scores)
            total += weights[name] * np.where(at > 0, 1.0 / (RRF_K + at), 0.0)
        else:
            total += weights[name] * relative(scores)
    return total
