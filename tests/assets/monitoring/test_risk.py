"""Estimates agree with what is measured when scores are calibrated, and intervals cover what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.monitoring.risk import estimate_auc, estimate_brier, estimate_log_loss, log_losses, measured

RNG = np.random.default_rng(11)


def calibrated(rows: int) -> tuple[np.ndarray, np.ndarray]:
    scores = RNG.beta(1.2, 4, rows)
    return scores, (RNG.random(rows) < scores).astype(float)


def test_estimates_are_what_labels_give_within_their_deviation() -> None:
    misses = {"log_loss": [], "brier": []}  # type: ignore[var-annotated]
    for _ in range(300):
        scores, labels = calibrated(1500)
        for name, estimate, found in (
            ("log_loss", estimate_log_loss(scores), log_losses(scores, labels).mean()),
            ("brier", estimate_brier(scores), ((scores - labels) ** 2).mean()),
        ):
            assert estimate.deviation is not None
            misses[name].append((found - estimate.value) / estimate.deviation)
    for name, found in misses.items():
        assert abs(np.mean(found)) < 0.2, name
        assert 0.85 < np.std(found) < 1.15, name


def test_the_estimated_auc_is_the_mean_of_the_measured_ones() -> None:
    from sklearn.metrics import roc_auc_score

    scores = RNG.beta(1.2, 4, 800).round(2)  # with ties
    drawn = [roc_auc_score((RNG.random(800) < scores).astype(int), scores) for _ in range(400)]
    assert estimate_auc(scores).value == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 20)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.1, 0.35, 0.5, 0.9, 1.0]), min_size=2, max_size=12))
def test_the_estimated_auc_is_that_of_all_pairs(scores: list[float]) -> None:
    won = pairs = 0.0
    for i, p in enumerate(scores):
        for j, q in enumerate(scores):
            if i != j:
                pairs += p * (1 - q)
                won += p * (1 - q) * (1.0 if p > q else 0.5 if p == q else 0.0)
    if pairs < 1e-9:
        with pytest.raises(ValueError, match="different classes"):
            estimate_auc(np.array(scores))
    else:
        assert estimate_auc(np.array(scores)).value == pytest.approx(won / pairs)


def test_a_change_of_concept_is_not_seen_without_labels() -> None:
    """What the estimate assumes: it says the same whatever the labels are, so it can only prompt a look."""
    scores, _ = calibrated(5000)
    turned = (RNG.random(5000) < 1 - scores).astype(float)
    assert log_losses(scores, turned).mean() > estimate_log_loss(scores).value + 0.3


def test_intervals_by_blocks_cover_the_mean_where_rows_of_a_week_depend() -> None:
    inside = naive_inside = 0
    for _ in range(400):
        days = np.repeat(np.arange(210), 20)
        week = RNG.normal(0, 1, 30)[days // 7]
        values = 2 + week + RNG.normal(0, 1, len(days))
        found = measured(values, days)
        inside += found.low <= 2 <= found.high
        naive_inside += abs(found.value - 2) <= 1.96 * values.std() / np.sqrt(len(values))
        assert found.blocks == 30
    assert 0.92 <= inside / 400 <= 0.98
    assert naive_inside / 400 < 0.5, "the test can tell: rows taken as independent cover far less"


@pytest.mark.parametrize("scores", [[], [0.5, 1.2], [0.1, float("nan")], [-0.1]])
def test_what_is_no_score_is_refused(scores: list[float]) -> None:
    for estimate in (estimate_log_loss, estimate_brier, estimate_auc):
        with pytest.raises(ValueError, match="between 0 and 1"):
            estimate(np.array(scores))
    with pytest.raises(ValueError, match="no row"):
        measured(np.array([]), np.array([], dtype=np.int64))
