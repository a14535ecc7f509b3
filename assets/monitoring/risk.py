"""Risk of a classifier's scores: estimated while labels are missing, measured by blocks of days once they are there.

The estimate is confidence-based (CBPE; as in NannyML): if scores are calibrated, a score p is wrong with a known
probability, so the expected loss needs no label. It assumes that calibration still holds, which a change of concept
breaks: it prompts a look, and no error rate is claimed by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMALLEST = 1e-15


@dataclass(frozen=True)
class Estimate:
    """A risk without labels.

    Attributes:
        value: expected value over labels that the scores say themselves.
        deviation: standard deviation of what would be measured on these rows, if the scores are calibrated; None where
            no closed form is known.
    """

    value: float
    deviation: float | None


def estimate_log_loss(scores: Array) -> Estimate:
    """Expected mean log loss of calibrated scores, shape (rows,), 0 to 1: their mean entropy, in nats.

    Raises:
        ValueError: there is no score, or one lies outside [0, 1].
    """
    p = _checked(scores)
    entropy = -p * np.log(p) - (1 - p) * np.log1p(-p)
    # The loss is ln(1/p) or ln(1/(1 - p)): two values that lie logit(p) apart.
    variance = p * (1 - p) * (np.log(p) - np.log1p(-p)) ** 2
    return Estimate(float(entropy.mean()), float(np.sqrt(variance.sum())) / len(p))


def estimate_brier(scores: Array) -> Estimate:
    """Expected mean squared error of calibrated scores: their mean p (1 - p). Raises as :func:`estimate_log_loss`."""
    p = _checked(scores)
    variance = p * (1 - p) * (1 - 2 * p) ** 2
    return Estimate(float((p * (1 - p)).mean()), float(np.sqrt(variance.sum())) / len(p))


def estimate_auc(scores: Array) -> Estimate:
    """Expected area under the ROC curve of calibrated scores.

    The ratio of expectations: of all ordered pairs of two different rows, weighted by the probability that the first is
    positive and the second negative, the share in which the first scores higher; ties count half.

    Raises:
        ValueError: as :func:`estimate_log_loss`, or all scores are 0 or all are 1.
    """
    p = np.sort(_checked(scores, clip=False))
    negatives = np.concatenate([[0.0], np.cumsum(1 - p)])
    first = np.searchsorted(p, p, side="left")
    last = np.searchsorted(p, p, side="right")
    below, tied = negatives[first], negatives[last] - negatives[first]
    own = p * (1 - p)  # a row is no pair with itself
    won = float((p * (below + 0.5 * tied)).sum() - 0.5 * own.sum())
    pairs = float(p.sum() * (1 - p).sum() - own.sum())
    if pairs <= 0:
        raise ValueError("no pair of rows can be of different classes")
    return Estimate(won / pairs, None)


def log_losses(scores: Array, labels: Array) -> Array:
    """Log loss of each row, in nats, shape (rows,)."""
    p = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return np.asarray(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)), dtype=np.float64)


@dataclass(frozen=True)
class Measured:
    """A mean by blocks of days, with its uncertainty.

    Attributes:
        value: mean over rows.
        low, high: 95% interval from the blocks; equal to the value when there is one block only.
        blocks: how many there were.
    """

    value: float
    low: float
    high: float
    blocks: int


def measured(values: Array, days: NDArray[np.int64], block_days: int = 7) -> Measured:
    """The mean of ``values`` with a 95% interval that lets rows of neighbouring days depend on each other.

    The ratio estimator of survey sampling over blocks of ``block_days`` days (Cochran, Sampling Techniques, 1977, ch.
    6), with Student's t of the number of blocks.

    Args:
        values: one a row, such as log losses or differences of them, shape (rows,).
        days: the day of each row, counted from anywhere.

    Raises:
        ValueError: there is no row.
    """
    if not len(values):
        raise ValueError("no row was measured")
    _, block = np.unique(days // block_days, return_inverse=True)
    sums, counts = np.bincount(block, values), np.bincount(block).astype(np.float64)
    mean, n = float(values.mean()), len(sums)
    if n < 2:
        return Measured(mean, mean, mean, n)
    from scipy.stats import t

    residuals = sums - mean * counts
    deviation = np.sqrt(n / (n - 1) * float((residuals**2).sum())) / float(counts.sum())
    half = float(t.ppf(0.975, n - 1)) * float(deviation)
    return Measured(mean, mean - half, mean + half, n)


def _checked(scores: Array, clip: bool = True) -> Array:
    p = np.asarray(scores, dtype=np.float64)
    if not len(p) or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
        raise ValueError(f"expected scores between 0 and 1, found {len(p)} of which some are not")
    return np.clip(p, SMALLEST, 1 - SMALLEST) if clip else p
