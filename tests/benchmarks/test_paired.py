"""Simulated losses have the difference that they say, and depend on each other as they say."""

from __future__ import annotations

import numpy as np
import pytest

from assets.training.tabular.scores import losses
from benchmarks.paired import BEGUN, INDEPENDENT, MARGIN, ROWS_A_DAY, SHIFT, SKEWED, WEEKS, Days, paired, promoted


@pytest.mark.parametrize("kind", [INDEPENDENT, WEEKS, BEGUN, SKEWED], ids=lambda kind: kind.name)
def test_the_difference_is_the_declared_one(kind: Days) -> None:
    labels, challenger, champion, days = paired(7000, 0.05, kind, seed=1)
    difference = losses(labels, challenger) - losses(labels, champion)
    assert difference.mean() == pytest.approx(0.05, abs=4 * SHIFT / np.sqrt(7000 / kind.alike))
    assert len(days) == pytest.approx(7000 * ROWS_A_DAY, rel=0.01)
    group = (days + kind.begun) // kind.alike
    means = np.bincount(group, difference) / np.bincount(group)
    assert means[1:-1].std() > 0.9 * SHIFT


def test_a_gate_is_the_stricter_the_worse_the_challenger() -> None:
    shares = [promoted(40, 91, worse, INDEPENDENT) for worse in (-0.05, 0.0, 2 * MARGIN)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1
    assert shares[-1] == 0
