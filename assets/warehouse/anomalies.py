"""Days on which a metric is not what it uses to be on that day of the week. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
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
    """A day, its value, what was usual, and how many robust standard deviations lie between."""

    day: date
    value: float
    usual: float
    deviations: float


def unusual(
    values: Mapping[date, float], since: date, until: date, weeks: int = WEEKS, threshold: float = THRESHOLD
) -> list[Unusual]:
    """Days in [since, until) that lie more than ``threshold`` robust deviations from the same weekdays before them.

    Median and median absolute deviation (Hampel, JASA 1974), so that an anomaly does not make the next one usual. A day
    that has no value is not judged here: that a month has one is a check of its own.
    """
    found = []
    for day in sorted(d for d in values if since <= d < until):
        before = [values[d] for n in range(1, weeks + 1) if (d := day - timedelta(weeks=n)) in values]
        if len(before) < LEAST:
            continue
        usual = median(before)
        scale = median(abs(v - usual) for v in before) / NORMAL
        scale = max(scale, SMALLEST_SHARE * abs(usual), 1e-12)
        deviations = (values[day] - usual) / scale
        if abs(deviations) > threshold:
            found.append(Unusual(day, values[day], usual, deviations))
    return found
