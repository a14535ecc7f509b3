"""The half-period backtest: would a model fitted on all but the newest labels have beaten the champion on those?

It answers what a retraining would gain before one is paid for. The candidate is fitted with parameters that were found
before, so that it costs one fit and no search.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assets.monitoring.decision import Backtest
from assets.monitoring.risk import Array, log_losses, measured
from assets.training.spec import ModelDeclaration

if TYPE_CHECKING:
    import pandas as pd


def days_of(times: pd.Series) -> NDArray[np.int64]:
    """Number of each instant's day, in UTC, shape (rows,)."""
    microseconds = times.astype("datetime64[us, UTC]").astype("int64")
    return np.asarray(microseconds // 86_400_000_000, dtype=np.int64)


def half_period(
    model: ModelDeclaration,
    frame: pd.DataFrame,
    start: datetime,
    end: datetime,
    champion: Callable[[pd.DataFrame], Array],
    parameters: dict[str, Any],
    threads: int,
    least: int = 1000,
    fit: Callable[[ModelDeclaration, pd.DataFrame, int], Callable[[pd.DataFrame], Array]] | None = None,
) -> Backtest | None:
    """Champion and candidate on the second half of [start, end), the candidate fitted on everything before it.

    Args:
        frame: a training set as ``assets.features.training_set`` stores it, of every label that is known now.
        start, end: of the period under review, by prediction time.
        champion: its probabilities for rows of the frame, shape (rows,).
        parameters: of the learner, as the champion's version has them.
        least: labelled rows on each side below which nothing is said: None.
        fit: makes the candidate from the model, its rows and ``threads``; without it ``fitted_version`` of training.
            The candidate does not depend on the champion, so whoever compares it with several can keep it.
    """
    from assets.training.tabular.train import fitted_version, with_parameters

    middle = start + (end - start) / 2
    known = frame[frame["_time"] < end]
    learn, later = known[known["_time"] < middle], known[known["_time"] >= middle]
    if min(len(learn), len(later)) < least:
        return None
    candidate = (fit or fitted_version)(with_parameters(model, parameters), learn, threads)
    truth = later["_label"].to_numpy(np.float64)
    mine = log_losses(np.asarray(champion(later), dtype=np.float64), truth)
    theirs = log_losses(candidate(later), truth)
    gain = measured(mine - theirs, days_of(later["_time"]))
    return Backtest(float(mine.mean()), float(theirs.mean()), gain.low, gain.high, len(later))
