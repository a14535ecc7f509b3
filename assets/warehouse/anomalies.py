"""Days on which a metric is not what it uses to be on that day of the week. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import inf
from statistics import median

WEEKS = 8
LEAST = 4  # values of the same weekday before a day, below which nothing is said of it
THRESHOLD = 6.0
# A median absolute deviation is this share of a normal standard deviation.
NORMAL = 0.6745
# Of a metric that hardly ever moves, moving by less than this share of its level is no news.
SMALLEST_SHARE = 0.02


@dataclass(frozen=True)
class Unusual:
    """A day, its value, what was usual, and how many robust standard deviations lie between.

    A day without a value, and so infinitely far off, has None.
    """

    day: date
    value: float | None
    usual: float
    deviations: float


def unusual(
    values: Mapping[date, float], since: date, until: date, weeks: int = WEEKS, threshold: float = THRESHOLD
) -> list[Unusual]:
    """Days in [since, until) that lie more than ``threshold`` robust deviations from the same weekdays before them.

    Median and median absolute deviation (Hampel, JASA 1974), so that an anomaly does not make the next one usual. A day
    that has no value is unusual where every one of those weekdays had one: nothing came that day.
    """
    found = []
    for day in (since + timedelta(days=n) for n in range((until - since).days)):
        before = [values[d] for n in range(1, weeks + 1) if (d := day - timedelta(weeks=n)) in values]
        if len(before) < LEAST:
            continue
        usual = median(before)
        if day not in values:
            if len(before) == weeks:
                found.append(Unusual(day, None, usual, -inf))
            continue
        scale = median(abs(v - usual) for v in before) / NORMAL
        scale = max(scale, SMALLEST_SHARE * abs(usual), 1e-12)
        deviations = (values[day] - usual) / scale
        if abs(deviations) > threshold:
            found.append(Unusual(day, values[day], usual, deviations))
    return found
