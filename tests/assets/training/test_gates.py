"""The gates let good versions through and stop bad ones, at the rates that they state."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from assets.training.spec import CalibrationGate, ChampionGate, Floor, SliceGate
from assets.training.tabular import gates
from assets.training.tabular.scores import Score, score

DAYS = np.repeat(np.arange(120), 40)


def world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels whose rate moves from day to day, and their true probabilities."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(-1.2, 0.5, 120)[DAYS] + generator.normal(0, 0.8, DAYS.size)
    p = 1 / (1 + np.exp(-logit))
    return (generator.random(DAYS.size) < p).astype(float), p


def blurred(p: np.ndarray, noise: float, seed: int) -> np.ndarray:
    logit = np.log(p / (1 - p)) + np.random.default_rng(seed).normal(0, noise, p.size)
    return 1 / (1 + np.exp(-logit))


def test_a_clearly_better_challenger_passes_and_a_worse_one_does_not() -> None:
    labels, p = world(1)
    worse = blurred(p, 0.7, 2)
    gate = ChampionGate()
    assert gates.champion(gate, labels, p, worse, DAYS).passed
    assert not gates.champion(gate, labels, worse, p, DAYS).passed


def test_without_a_champion_the_gate_passes_and_says_why() -> None:
    labels, p = world(1)
    verdict = gates.champion(ChampionGate(), labels, p, None, DAYS)
    assert verdict.passed
    assert verdict.observed == "there is no champion"


def test_a_challenger_worse_by_the_margin_passes_at_most_about_5_percent_of_the_time() -> None:
    """At the boundary of the null, over worlds: the stated confidence is 95%."""
    runs, passed = 200, 0
    for run in range(runs):
        labels, p = world(run)
        challenger = blurred(p, 0.5, 10_000 + run)
        champion = blurred(p, 0.5, 20_000 + run)  # as good: the expected difference is 0, the margin
        passed += gates.champion(ChampionGate(margin=0.0, block_days=1), labels, challenger, champion, DAYS).passed
    assert passed / runs <= 0.10


@pytest.mark.parametrize("begun", [0, 3])
@pytest.mark.parametrize("blocks", [5, 13, 35])
def test_neither_few_weeks_nor_their_first_day_let_more_worse_challengers_pass(blocks: int, begun: int) -> None:
    """At the boundary, weeks alike from any day: the stated 5%, within three standard errors."""
    runs, passed = 1000, 0
    days = np.repeat(np.arange(7 * blocks), 10)
    for run in range(runs):
        generator = np.random.default_rng(run)
        shift = generator.normal(0, 0.02, blocks + 1)[(days + begun) // 7]
        difference = 0.01 + shift + generator.normal(0, 0.1, days.size)
        challenger, champion = np.exp(-(2 + difference)), np.full(days.size, np.exp(-2.0))
        gate = ChampionGate(margin=0.01)
        passed += gates.champion(gate, np.ones(days.size), challenger, champion, days).passed
    assert 0.005 <= passed / runs <= 0.0707


def test_days_of_one_block_show_nothing() -> None:
    labels, p = world(6)
    better, week = blurred(p, 0.7, 7), DAYS < 7
    verdict = gates.champion(ChampionGate(), labels[week], p[week], better[week], DAYS[week])
    assert not verdict.passed
    assert "upper bound +inf" in verdict.observed


def test_the_floor_judges_the_score_itself() -> None:
    found = {"auc": Score(0.71, 0.69, 0.73), "log_loss": Score(0.5, 0.4, 0.6)}
    verdicts = gates.floor(Floor(auc=0.71, log_loss=0.49), found)
    assert [v.passed for v in verdicts] == [True, False]
    assert verdicts[1].observed == "0.5000 [0.4000, 0.6000]"


def test_a_slice_that_is_worse_off_than_by_its_own_rate_is_named() -> None:
    labels, p = world(3)
    site = np.where(np.arange(labels.size) % 4 == 0, "south", "north")
    frame = pd.DataFrame({"site": site})
    gate = SliceGate(fields=("site",), min_rows=100, margin=0.0)
    assert gates.slices(gate, frame, labels, p).passed
    broken = np.where(site == "south", 0.95, p)
    verdict = gates.slices(gate, frame, labels, broken)
    assert not verdict.passed
    assert "site = south" in verdict.observed
    assert gates.slices(None, frame, labels, broken).passed


def test_calibration_and_schema() -> None:
    labels, p = world(4)
    assert gates.calibration(CalibrationGate(max_error=0.03), labels, p).passed
    assert not gates.calibration(CalibrationGate(max_error=0.03), labels, p**0.3).passed
    assert gates.schema(["a", "b"], ["a", "b"]).passed
    assert not gates.schema(["a", "b"], ["b", "a"]).passed


def test_scores_of_the_simulated_world_are_as_designed() -> None:
    labels, p = world(5)
    found = score(labels, p, DAYS)
    assert found["auc"].value == pytest.approx(0.73, abs=0.05)
