"""Detectors of a change on one stream: the days at whose end each raises an alarm, and what that is worth.

Rivals are river's ADWIN (Bifet and Gavaldà, SDM 2007) and Page-Hinkley (Page, Biometrika 1954) with their defaults, fed
row by row as usual and with daily means, and the usual rule on Evidently's reports: at least half the inputs drifted.
That rule is computed here as the project's adapter decides it, without the page, which takes a second to draw; the
bench counts where the two disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assets.monitoring.alarm import Alarm, Null
from assets.monitoring.drift import TESTED_ROWS
from benchmarks.drifting import YEAR, Array, Kind, Live

# Of squared errors: a point worse is tolerated, and a block's mean counts as at most 20 points worse.
NULL = Null("worse", tolerance=0.01, clip=0.2)
LEVEL, DISTANCE, MANY = 0.05, 0.1, 0.5
THRESHOLDS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 50.0)


def by_alarm(daily: Array, expected: float, alarm: Alarm | None = None) -> list[int]:
    """Days on which the project's alarm was raised; somebody looks each time, and it begins anew.

    Args:
        daily: mean loss of each day.
        expected: of a healthy model.
    """
    watching = alarm or Alarm((NULL,))
    found = []
    for day, value in enumerate(daily):
        if watching.look({NULL.name: float(value) - expected}):
            found.append(day)
            watching.reset()
    return found


def adwin(values: Array, a_day: int) -> list[int]:
    """Days with an alarm of river's ADWIN; row by row as by default, daily means looked at every day, not every 32nd.

    Args:
        values: losses in their order, ``a_day`` of them a day.
    """
    from river.drift import ADWIN

    return _river(ADWIN() if a_day > 1 else ADWIN(clock=1), values, a_day)


def page_hinkley(values: Array, a_day: int, threshold: float = 50.0) -> list[int]:
    """As :func:`adwin`, by river's Page-Hinkley; by default to both sides and a sum of 50."""
    from river.drift import PageHinkley

    return _river(PageHinkley(threshold=threshold), values, a_day)


def _river(detector: object, values: Array, a_day: int) -> list[int]:
    days = []
    for position, value in enumerate(values.tolist()):
        detector.update(value)  # type: ignore[attr-defined]
        if detector.drift_detected:  # type: ignore[attr-defined]
            days.append(position // a_day)
    return sorted(set(days))


def tuned(years: Sequence[Array], false_alarms: float = 1.0) -> float:
    """The smallest threshold of Page-Hinkley on daily means with at most so many alarms a year on these years.

    Args:
        years: daily means in which nothing changes.
    """
    for threshold in THRESHOLDS:
        if sum(len(page_hinkley(year, 1, threshold)) for year in years) <= false_alarms * len(years):
            return threshold
    raise ValueError("no threshold of the grid is quiet enough")


def half_drifted(stream: Live, window: int) -> list[int]:
    """Last days of the windows of ``window`` days in which at least half of the inputs drifted from what was seen."""
    days = len(stream.rows) // window * window
    found = []
    for end in range(window, days + 1, window):
        current = stream.rows[end - window : end].reshape(-1, stream.rows.shape[2])
        if np.mean(drifted(stream.seen, current, stream.kinds)) >= MANY:
            found.append(end - 1)
    return found


def drifted(reference: Array, current: Array, kinds: Sequence[Kind]) -> list[bool]:
    """Whether each input drifted, as :func:`assets.monitoring.drift.compare` decides it.

    Args:
        reference, current: inputs without missing values, shape (rows, inputs).
    """
    few = min(len(reference), len(current)) <= TESTED_ROWS
    return [
        (_number if kind == "number" else _category)(reference[:, i], current[:, i], few)
        for i, kind in enumerate(kinds)
    ]


def _number(reference: Array, current: Array, few: bool) -> bool:
    from scipy.stats import ks_2samp, wasserstein_distance

    if few:  # the asymptotic p-value, for speed
        return bool(ks_2samp(reference, current, method="asymp").pvalue < LEVEL)
    return bool(wasserstein_distance(reference, current) / max(float(reference.std()), 0.001) >= DISTANCE)


def _category(reference: Array, current: Array, few: bool) -> bool:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import chisquare

    values = np.union1d(reference, current)
    one, two = ((column == values[:, None]).sum(axis=1) for column in (reference, current))
    if few:
        return bool(chisquare(two, one * (len(current) / len(reference))).pvalue < LEVEL)
    return bool(jensenshannon(one / len(reference), two / len(current)) >= DISTANCE)


@dataclass(frozen=True)
class Figures:
    """What a detector does on streams of one kind.

    Attributes:
        false_share: of the streams, with an alarm in the year before the change.
        false_a_year: alarms before the change, a year.
        delays: days of the change until the end of the day with the first alarm, by stream; the whole time looked at
            where there was none.
        missed: share of the streams without an alarm after the change.
    """

    false_share: float
    false_a_year: float
    delays: tuple[float, ...]
    missed: float


def figures(found: Sequence[Sequence[int]], changes: Sequence[int], after: int) -> Figures:
    """Of the days with an alarm on each stream.

    Args:
        changes: the first day of the change, by stream.
        after: days that each stream goes on from there.
    """
    pairs = list(zip(found, changes, strict=True))
    early = sum(day < change for alarms, change in pairs for day in alarms)
    year = [any(change - YEAR <= day < change for day in alarms) for alarms, change in pairs]
    first = [min((day - change + 1 for day in alarms if day >= change), default=None) for alarms, change in pairs]
    return Figures(
        float(np.mean(year)),
        early * YEAR / sum(changes),
        tuple(float(after if days is None else days) for days in first),
        float(np.mean([days is None for days in first])),
    )
