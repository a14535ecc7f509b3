"""What other versions would have done on a period's labels: one fitted on newer data, and the one that was replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np

from assets.monitoring.backtest import days_of, half_period
from assets.monitoring.decision import Backtest
from assets.monitoring.risk import Array, log_losses, measured
from assets.training.spec import ModelDeclaration
from serving.errors import ClearwayError
from serving.models.registry import RegistryError

if TYPE_CHECKING:
    import pandas as pd

    from assets.monitoring.review import Stores

# Labelled predictions on each side of a backtest, below which there is none.
LEAST = 200
Predict = Callable[["pd.DataFrame"], Array]


@dataclass(frozen=True)
class Brought:
    """What a release has brought in its first period: both versions on the same predictions, paired.

    Attributes:
        version, previous: the champion, and the version that it replaced.
        saved: log loss of the previous less that of the version, nats a prediction; negative when it was worse.
        low, high: 95% interval by blocks of seven days.
        rows: labelled predictions.
    """

    version: str
    previous: str
    saved: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Trial:
    """What was tried at a review.

    Attributes:
        backtest: None when there are too few labels for one, or when it was not possible.
        problem: what was in the way, None when nothing was.
        brought: None unless the champion is new since the review before.
    """

    backtest: Backtest | None = None
    problem: str | None = None
    brought: Brought | None = None


def tried(
    stores: Stores,
    model: ModelDeclaration,
    champion: str,
    period: date,
    now: datetime,
    newest: str | None,
    progress: Callable[[str], None],
) -> Trial:
    """Try the champion against newer data, and, when it is new, against the version that it replaced.

    Args:
        now: labels that become known later count for nothing.
        newest: id of the decision to retrain of the review before, None when it did not decide so.

    Raises:
        Exception: what may be over the next time, such as a registry that does not answer: the review is to be tried
            again, for its record is the only one of its period.
    """
    from assets.features.sets import known_set
    from assets.training.tabular.version import facts_of, incumbent

    start, end = stores.domain.bounds(period)
    threads = os.cpu_count() or 1
    try:
        facts = facts_of(model.name, champion, stores.settings)
        predict = incumbent(stores.domain, model, champion, stores.settings, threads)
        known = known_set(
            stores.domain, stores.manifest, model, stores.warehouse_file, stores.features, period, now
        ).read()
        test = half_period(model, known, start, end, predict, facts["parameters"], threads, LEAST)
    except RegistryError:
        raise
    except ClearwayError as error:
        progress(f"{model.name}: no backtest: {error.what}")
        what = error.what.splitlines()[0]
        return Trial(problem=f"version {champion} could not be tested against newer data: {what}")
    if newest is None or facts.get("decision") != newest or not facts.get("champion"):
        return Trial(test)
    previous = str(facts["champion"])
    try:
        before = incumbent(stores.domain, model, previous, stores.settings, threads)
        return Trial(test, brought=brought(known, start, end, (champion, predict), (previous, before)))
    except Exception as error:  # what was decided does not depend on it
        progress(f"{model.name}: what version {champion} has brought against {previous} cannot be said: {error}")
        return Trial(test)


def brought(
    known: pd.DataFrame, start: datetime, end: datetime, new: tuple[str, Predict], old: tuple[str, Predict]
) -> Brought | None:
    """Both versions on every labelled prediction of [start, end); None when there is none.

    Args:
        known: a training set as ``assets.features.training_set`` stores it.
        new, old: name of a version and its probabilities for rows of the set.
    """
    rows = known[(known["_time"] >= start) & (known["_time"] < end)]
    if rows.empty:
        return None
    truth = rows["_label"].to_numpy(np.float64)
    lost = [log_losses(np.asarray(predict(rows), dtype=np.float64), truth) for _, predict in (old, new)]
    found = measured(lost[0] - lost[1], days_of(rows["_time"]))
    return Brought(new[0], old[0], found.value, found.low, found.high, len(rows))
