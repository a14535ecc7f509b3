"""Scores against scikit-learn, and intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from assets.training.tabular import scores


@given(st.integers(0, 10_000), st.integers(20, 400))
@settings(max_examples=60, deadline=None)
def test_scores_equal_those_of_scikit_learn(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, size).astype(float)
    labels[:2] = 0, 1
    probabilities = np.round(generator.random(size), 2)  # rounded, so that there are ties
    assert scores.auc(labels, probabilities) == pytest.approx(roc_auc_score(labels, probabilities))
    clipped = np.clip(probabilities, 1e-12, 1 - 1e-12)
    assert scores.losses(labels, probabilities).mean() == pytest.approx(log_loss(labels, clipped))
    days = np.arange(size) // 10
    found = scores.score(labels, probabilities, days)
    assert found["brier"].value == pytest.approx(brier_score_loss(labels, probabilities))
    for score in found.values():
        assert score.low <= score.high


def test_auc_of_one_class_is_unknown() -> None:
    assert np.isnan(scores.auc(np.ones(3), np.array([0.1, 0.2, 0.3])))


def test_a_calibrated_model_has_a_small_calibration_error_and_a_shifted_one_not() -> None:
    generator = np.random.default_rng(1)
    p = generator.uniform(0.05, 0.6, 50_000)
    y = (generator.random(50_000) < p).astype(float)
    assert scores.calibration_error(y, p) < 0.01
    assert scores.calibration_error(y, np.clip(p + 0.2, 0, 1)) == pytest.approx(0.2, abs=0.01)


def test_day_blocks_cover_each_row_once() -> None:
    days = np.array([100, 101, 99, 113, 106, 99])
    blocks = scores.day_blocks(days, 7)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(6))
    for block in blocks:
        assert days[block].max() - days[block].min() < 7


def test_block_intervals_cover_the_truth_where_rows_of_a_day_are_alike() -> None:
    """Rows share their day's effect: by rows the interval would be far too short, by days it covers about 95%."""
    covered_by_blocks = covered_by_rows = 0
    runs = 200
    for run in range(runs):
        generator = np.random.default_rng(run)
        days = np.repeat(np.arange(60), 50)
        values = generator.normal(0, 1, 60)[days] + generator.normal(0, 1, days.size)
        by_block = scores.mean_interval(values, scores.day_blocks(days, 1), repeats=300, seed=run)
        by_row = scores.mean_interval(values, [np.array([i]) for i in range(days.size)], repeats=50, seed=run)
        covered_by_blocks += by_block.low <= 0 <= by_block.high
        covered_by_rows += by_row.low <= 0 <= by_row.high
    assert covered_by_blocks / runs >= 0.88
    assert covered_by_rows / runs < 0.5
