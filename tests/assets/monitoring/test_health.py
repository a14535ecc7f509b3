"""Risk of a period, and alarms that are quiet on a model that keeps its word and raised on one that does not."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from assets.monitoring.health import alarms, figures, told
from assets.monitoring.spec import RiskAlarm, Slice

START = date(2024, 1, 1)
DECLARED = RiskAlarm(slices=(Slice(column="bed", value="north"), Slice(column="bed", value="south")))


def served(days: int, wrong_from: int | None = None, bed: str | None = None, a_day: int = 400) -> pd.DataFrame:
    """Calibrated answers; from a day on, everywhere or in one bed, twice as many plants wilt as the scores say."""
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(days), a_day)
    score = rng.beta(2, 6, len(day))
    beds = rng.choice(["north", "south", "east"], len(day))
    wrong = (day >= (days if wrong_from is None else wrong_from)) & ((beds == bed) | (bed is None))
    label = (rng.random(len(day)) < np.where(wrong, np.minimum(1, 2 * score), score)).astype(float)
    dates = np.array([START + timedelta(days=int(d)) for d in range(days)], dtype=object)[day]
    return pd.DataFrame({"day": dates, "score": score, "label": label, "bed": beds})


def watch(frame: pd.DataFrame, start: int = 0, days: int = 90) -> dict[str, str | None]:
    until = START + timedelta(days=days)
    found = alarms(frame, DECLARED, START + timedelta(days=start), START, until)
    return {item.name: item.raised_on for item in found}


def test_figures_with_and_without_labels() -> None:
    frame = served(30)
    days = np.array([d.toordinal() for d in frame["day"]], dtype=float)
    scores, labels = frame["score"].to_numpy(), frame["label"].to_numpy()
    loss, brier, auc = figures(scores, labels, days)
    assert (loss.name, brier.name, auc.name) == ("log_loss", "brier", "auc")
    for figure in (loss, brier):
        assert figure.low is not None
        assert figure.high is not None
        assert figure.measured is not None
        assert figure.low < figure.measured < figure.high
    for figure in (loss, brier, auc):
        assert figure.measured == pytest.approx(figure.estimated, abs=0.02)
        assert figure.error is not None
    none = np.full(len(labels), np.nan)
    without = figures(scores, none, days)
    assert [f.measured for f in without] == [None, None, None]
    assert [f.estimated for f in without] == [f.estimated for f in (loss, brier, auc)]
    half = figures(scores, np.where(days % 2 == 0, labels, np.nan), days)
    assert half[0].estimated == loss.estimated
    assert half[0].measured != loss.measured
    assert told(half)[0]["name"] == "log_loss"


def test_one_class_and_one_score_are_told_and_not_a_fault() -> None:
    zeros, days = np.zeros(20), np.zeros(20)
    loss, _, auc = figures(np.full(20, 0.2), zeros, days)
    assert loss.measured == pytest.approx(-np.log(0.8))
    assert auc.measured is None
    assert figures(zeros, zeros, days)[2].estimated == 0.5


def test_they_are_quiet_while_the_model_keeps_its_word() -> None:
    assert watch(served(90)) == {"model": None, "bed=north": None, "bed=south": None}


def test_harm_to_all_is_found_by_all_and_harm_to_one_slice_there_first() -> None:
    everywhere = watch(served(250, wrong_from=30), days=250)
    assert None not in everywhere.values()
    assert all(found is not None and found > "2024-01-31" for found in everywhere.values())
    north = watch(served(250, wrong_from=30, bed="north"), days=250)
    assert north["bed=north"] is not None
    assert north["bed=south"] is None


def test_what_was_raised_before_the_period_and_stays_is_raised_on_its_first_day() -> None:
    frame = served(250, wrong_from=10)
    assert watch(frame, start=240, days=250)["model"] == str(START + timedelta(days=240))


def test_days_without_labels_are_no_evidence() -> None:
    frame = served(90, wrong_from=0)
    frame["label"] = np.nan
    found = alarms(frame, DECLARED, START, START, START + timedelta(days=90))
    assert [(item.raised_on, item.days) for item in found] == [(None, 0)] * 3


def test_the_declared_rate_is_shared_by_the_model_and_its_slices() -> None:
    frame = served(14)
    alone = alarms(frame, RiskAlarm(), START, START, START + timedelta(days=14))
    shared = alarms(frame, DECLARED, START, START, START + timedelta(days=14))
    assert [item.threshold - 1 for item in shared] == pytest.approx([3 * (alone[0].threshold - 1)] * 3)
