"""Paired losses of a champion and a challenger whose true difference is known, and how often a gate lets it pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.training.spec import ChampionGate
from assets.training.tabular import gates

Array = NDArray[np.float64]
MARGIN = 0.005  # nats that a challenger may be worse by, declared
ROWS_A_DAY, ROW, SHIFT = 30, 0.2, 0.02  # deviations of a row's difference, and of what a day or a week shares
LOSS = 2.0  # of the champion, so high that no challenger's loss is negative


@dataclass(frozen=True)
class Days:
    """How the differences of rows depend on each other.

    Attributes:
        alike: days that share a shift.
        begun: the day of such a group on which the gate's first block begins.
        skewed: shifts are exponential: rarely a week, but then by far, is the challenger worse.
    """

    name: str
    alike: int
    begun: int = 0
    skewed: bool = False


INDEPENDENT = Days("days independent", 1)
WEEKS = Days("weeks alike", 7)
BEGUN = Days("weeks alike, begun in mid-block", 7, begun=3)
SKEWED = Days("weeks alike, few of them very bad", 7, skewed=True)


def paired(days: int, worse: float, kind: Days, seed: int) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Labels and probabilities whose log losses differ by ``worse`` nats on average, as a gate is given them.

    Returns:
        labels (all 1), the challenger's and the champion's probabilities, and the day of each row, shape (rows,).
    """
    rng = np.random.default_rng([seed, days, kind.alike, kind.begun])
    day = np.repeat(np.arange(days), rng.poisson(ROWS_A_DAY, days))
    groups = days // kind.alike + 2
    shift = rng.exponential(1, groups) - 1 if kind.skewed else rng.normal(0, 1, groups)
    difference = worse + SHIFT * shift[(day + kind.begun) // kind.alike] + rng.normal(0, ROW, len(day))
    champion = np.full(len(day), LOSS)
    return np.ones(len(day)), np.exp(-(champion + difference)), np.exp(-champion), day


def promoted(runs: int, days: int, worse: float, kind: Days, block_days: int = 7) -> float:
    """Share of runs in which the project's gate lets the challenger pass.

    Args:
        worse: true mean difference of log loss, in nats; the declared margin is ``MARGIN``.
    """
    gate = ChampionGate(margin=MARGIN, block_days=block_days)
    return float(np.mean([gates.champion(gate, *paired(days, worse, kind, seed)).passed for seed in range(runs)]))
