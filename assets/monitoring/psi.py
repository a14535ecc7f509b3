"""The population stability index of one column, by the bins of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

BINS = 10
# A share of zero would make the index infinite.
SMALLEST_SHARE = 1e-4


def index(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """PSI of two distributions over the same bins: the sum of (c - r) ln(c / r).

    Siddiqi, Credit Risk Scorecards (2006), where above 0.25 is called a major shift: a rule of thumb, not a test.

    Args:
        reference, current: counts or shares, shape (bins,).
    """
    r, c = (np.maximum(x / x.sum(), SMALLEST_SHARE) for x in (reference, current))
    return float(((c - r) * np.log(c / r)).sum())


def psi(reference: pd.Series, current: pd.Series, bins: int = BINS) -> float:
    """PSI of ``current`` against ``reference``; what is missing in either is left out.

    Numbers are counted in bins of equal counts of the reference, open at both ends; texts, and numbers of which the
    reference has no more than ``bins``, by value.

    Raises:
        ValueError: all of a column is missing.
    """
    import pandas as pd

    first, second = reference.dropna(), current.dropna()
    if first.empty or second.empty:
        raise ValueError("expected at least one value in each column")
    if not pd.api.types.is_numeric_dtype(first) or first.nunique() <= bins:
        counts = pd.concat([first.value_counts(), second.value_counts()], axis=1).fillna(0).to_numpy(np.float64)
        return index(counts[:, 0], counts[:, 1])
    edges = np.unique(np.quantile(first, np.arange(1, bins) / bins))
    one, two = (np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (first, second))
    return index(one.astype(np.float64), two.astype(np.float64))
