"""Risk of what was served, estimated and measured, and the alarms on it. Pure: a frame in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.monitoring.alarm import Alarm, Null
from assets.monitoring.risk import (
    Array,
    Estimate,
    Measured,
    estimate_auc,
    estimate_brier,
    estimate_log_loss,
    log_losses,
    measured,
)
from assets.monitoring.spec import RiskAlarm
from assets.training.tabular.scores import auc

if TYPE_CHECKING:
    import pandas as pd

# A day's mean counts within this; losses of a bad day are a few tenths.
CLIP = 0.2


@dataclass(frozen=True)
class Figure:
    """One risk.

    Attributes:
        name: ``log_loss``, ``brier`` or ``auc``.
        estimated: without labels, of all that was served; ``deviation`` None where no closed form is known.
        measured, low, high: of what has a label, with its 95% interval by 7-day blocks; None without labels.
        error: measured minus what is estimated of the same labelled rows.
    """

    name: str
    estimated: float
    deviation: float | None
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Raised:
    """One alarm's state at the end of a period.

    Attributes:
        name: ``model``, or ``column=value``.
        evidence, threshold: the alarm is raised where the first reaches the second.
        raised_on: the first day in the period at which it was, None when at none.
        days: days with a label that it has looked at.
    """

    name: str
    evidence: float
    threshold: float
    raised_on: str | None
    days: int


def figures(scores: Array, labels: Array, days: Array) -> list[Figure]:
    """Risks of a period.

    Args:
        scores: of all that was served, shape (rows,).
        labels: 1, 0, or NaN where it is not known.
        days: ordinal of each row's day.

    Raises:
        ValueError: there is no row, or a score lies outside [0, 1].
    """
    known = np.isfinite(labels)
    s, y, d = scores[known], labels[known], days[known].astype(np.int64)
    found = []
    for name, estimate, losses in (
        ("log_loss", estimate_log_loss, log_losses),
        ("brier", estimate_brier, lambda p, t: (p - t) ** 2),
    ):
        all_rows: Estimate = estimate(scores)
        if not len(y):
            found.append(Figure(name, all_rows.value, all_rows.deviation))
            continue
        seen: Measured = measured(losses(s, y), d)
        error = seen.value - estimate(s).value
        found.append(Figure(name, all_rows.value, all_rows.deviation, seen.value, seen.low, seen.high, error))
    found.append(_auc(scores, s, y))
    return found


def _auc(scores: Array, s: Array, y: Array) -> Figure:
    try:
        estimated = estimate_auc(scores).value
    except ValueError:  # all scores are 0, or all 1
        estimated = 0.5
    if len(y) and 0 < y.mean() < 1:
        seen = float(auc(y, s))
        return Figure("auc", estimated, None, seen, error=seen - estimate_auc(s).value)
    return Figure("auc", estimated, None)


def alarms(frame: pd.DataFrame, declared: RiskAlarm, start: date, since: date, until: date) -> list[Raised]:
    """The model's alarm and one for each slice, looked at every day from ``since`` on.

    Args:
        frame: ``day`` (date), ``score``, ``label`` (NaN where it is not known) and the slices' columns.
        start: first day of the period under review; what was raised before was told before.
        since, until: days [since, until) that the alarm looks at: since the champion serves, or since the last alarm.
    """
    labelled = frame[frame["label"].notna()]
    wanted = [("model", labelled)]
    wanted += [(s.name, labelled[labelled[s.column].astype(str) == s.value]) for s in declared.slices]
    rate = declared.false_alarms / len(wanted)
    return [_alarm(name, rows, declared, rate, start, since, until) for name, rows in wanted]


def _alarm(
    name: str, rows: pd.DataFrame, declared: RiskAlarm, rate: float, start: date, since: date, until: date
) -> Raised:
    nulls = (Null("loss", declared.loss, CLIP), Null("calibration", declared.calibration, CLIP, two_sided=True))
    watch = Alarm(nulls, rate)
    by_day = _by_day(rows)
    raised_on, seen, day = None, 0, since
    while day < until:
        numbers = by_day.get(day, {})
        seen += bool(numbers)
        if watch.look(numbers) and raised_on is None and day >= start:
            raised_on = day.isoformat()
        day += timedelta(days=1)
    return Raised(name, watch.evidence, watch.threshold, raised_on, seen)


def _by_day(rows: pd.DataFrame) -> dict[date, dict[str, float]]:
    if rows.empty:
        return {}
    scores, labels = rows["score"].to_numpy(np.float64), rows["label"].to_numpy(np.float64)
    p = np.clip(scores, 1e-15, 1 - 1e-15)
    promised = -p * np.log(p) - (1 - p) * np.log1p(-p)
    judged = rows.assign(loss=log_losses(scores, labels) - promised, calibration=labels - scores)
    means = judged.groupby("day")[["loss", "calibration"]].mean()
    return {
        day: {"loss": float(loss), "calibration": float(gap)}
        for day, loss, gap in zip(means.index, means["loss"], means["calibration"], strict=True)
    }


def told(items: Sequence[Figure | Raised]) -> list[dict[str, Any]]:
    """As a record keeps them."""
    return [asdict(item) for item in items]
