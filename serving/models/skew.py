"""Input skew: how much of a request lies outside what a version saw in training, by the version's own record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.models.spec import ModelInput, Seen

Matrix = NDArray[np.float64]
# Of the training rows this share may lie beyond each end; one stray value must not widen the range for ever.
TAIL = 0.001
# An input that training missed more seldom than this is expected to be there.
SELDOM = 0.01


def training_ranges(inputs: Sequence[ModelInput], matrix: Matrix) -> list[ModelInput]:
    """The inputs with what training saw of each.

    Args:
        matrix: float64, shape (rows, inputs), as ``serving.models.inputs.derive`` makes it.
    """
    found = []
    for item, column in zip(inputs, matrix.T, strict=True):
        known = column[~np.isnan(column)]
        low = high = None
        if item.kind == "number" and len(known):
            low, high = (float(q) for q in np.quantile(known, [TAIL, 1 - TAIL], method="closest_observation"))
        seen = Seen(low=low, high=high, missing=1 - len(known) / max(1, len(column)))
        found.append(item.model_copy(update={"seen": seen}))
    return found


class InputSkew:
    """Compares matrices with what training saw; ``known`` is whether the version recorded any of it."""

    def __init__(self, inputs: Sequence[ModelInput]) -> None:
        seen = [item.seen or Seen(missing=1.0) for item in inputs]
        self.known = any(item.seen is not None for item in inputs)
        self._low = np.array([-np.inf if s.low is None else s.low for s in seen])
        self._high = np.array([np.inf if s.high is None else s.high for s in seen])
        self._expected = np.array([s.missing < SELDOM for s in seen])

    def of(self, matrix: Matrix) -> NDArray[np.float64]:
        """Share of each row's inputs that are below or above the range, or missing where training seldom missed them.

        Shape (rows,), 0 to 1. A category that training did not know counts as missing.
        """
        outside = (matrix < self._low) | (matrix > self._high) | (np.isnan(matrix) & self._expected)
        return np.asarray(outside.mean(axis=1), dtype=np.float64)
