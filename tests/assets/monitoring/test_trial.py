"""What a release has brought: both versions on the same predictions of a period, good or bad, and told so."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from assets.monitoring.history import Chapter
from assets.monitoring.history_plot import drawn
from assets.monitoring.record import Record
from assets.monitoring.risk import log_losses
from assets.monitoring.trial import Brought, brought

START, END = datetime(2013, 6, 1, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)


def known(rows: int = 6000, seed: int = 3) -> pd.DataFrame:
    """Labels of May to July whose rates are ``_rate``."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.05, 0.6, rows)
    times = pd.date_range("2013-05-01", "2013-08-01", rows, tz="UTC")
    return pd.DataFrame({"_time": times, "_label": (rng.random(rows) < rate).astype(int), "_rate": rate})


def right(rows: pd.DataFrame) -> np.ndarray:
    return rows["_rate"].to_numpy()


def dull(rows: pd.DataFrame) -> np.ndarray:
    return np.full(len(rows), 0.3)


def test_it_is_the_mean_difference_of_the_period_and_its_sign_says_who_was_better() -> None:
    frame = known()
    good = brought(frame, START, END, ("2", right), ("1", dull))
    assert good is not None
    june = frame[(frame["_time"] >= START) & (frame["_time"] < END)]
    truth = june["_label"].to_numpy(float)
    expected = (log_losses(dull(june), truth) - log_losses(right(june), truth)).mean()
    assert (good.version, good.previous, good.rows) == ("2", "1", len(june))
    assert good.saved == pytest.approx(expected)
    assert 0 < good.low < good.saved < good.high
    bad = brought(frame, START, END, ("3", dull), ("2", right))
    assert bad is not None
    assert (bad.saved, bad.low, bad.high) == pytest.approx((-good.saved, -good.high, -good.low))
    record = Record("m", "2013-06-01", 1, "2013-07-02", "3", "wait", "why", brought=asdict(bad))
    assert record.outcome.startswith(f"version 3 lost {good.saved:.4f} nats a prediction ({good.low:.4f} to ")
    assert record.outcome.endswith("against version 2")


def test_without_a_label_nothing_is_said() -> None:
    assert brought(known().head(100), START, END, ("2", right), ("1", dull)) is None
    assert Record("m", "2013-06-01", 1, "2013-07-02", "1", "wait", "why").outcome == ""


def test_the_picture_shows_releases_with_and_without_what_they_brought() -> None:
    numbers = {"gain": 0.01, "gain_low": -0.002, "gain_high": 0.02, "break_even": 0.004}
    first = Record("m", "2013-05-01", 1, "2013-06-02", None, "retrain", "first")
    second = Record("m", "2013-06-01", 1, "2013-07-02", "1", "retrain", "pays", numbers=numbers)
    third = Record("m", "2013-07-01", 1, "2013-08-02", "2", "alert", "worse",
                   brought=asdict(Brought("2", "1", -0.01, -0.03, 0.01, 900)))  # fmt: skip
    done = ("passed", "completed")
    plain = drawn([Chapter(first, "1", *done), Chapter(second, "2", *done), Chapter(third)])
    told = drawn([Chapter(first, "1", *done), Chapter(second, "2", *done, followed=third), Chapter(third)])
    assert plain.startswith(b"\x89PNG")
    assert plain != told
