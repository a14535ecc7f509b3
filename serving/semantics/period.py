"""Stretches of time as people name them: ``last 14 days``, ``July``, ``Q3 2013``, ``March 1 to March 9``. Pure.

What is named without its year is the newest of its name that has begun, by the newest day of the data.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_POINT = rf"(({'|'.join(MONTHS)})( [1-9][0-9]?)?|Q[1-4])( [12][0-9]{{3}})?|[12][0-9]{{3}}"
PATTERN = (
    r"^((this|last) (week|month|quarter|year)|last [1-9][0-9]{0,2} (days|weeks)"
    rf"|((since|before|through) )?({_POINT})|({_POINT}) to ({_POINT}))$"
)
SIZES = {"month": 1, "quarter": 3, "year": 12}
Days = tuple[date | None, date | None]


def days_of(period: str, today: date) -> Days:
    """Days [since, until) of a period; None where it is open.

    Args:
        period: as :data:`PATTERN` takes it. ``last`` with a number ends with ``today``, without one it is the whole
            week (from Monday), month, quarter or year before this one. ``A to B`` is the newest such stretch whose end
            has begun; ``before A`` ends with the day before A, ``through A`` with A.
        today: the newest day there is.

    Raises:
        ValueError: it is no period, or names a day that there is not.
    """
    if not re.match(PATTERN, period):
        raise ValueError(
            f"{period!r} is no period; such as 'last 14 days', 'this month', 'July', 'Q3 2013', 'April to June', "
            "'since March 5'"
        )
    first, _, rest = period.partition(" ")
    if first in ("this", "last"):
        return _moving(first, rest.split(), today)
    begin, to, end = period.partition(" to ")
    if to:
        return _between(begin, end, today)
    if first not in ("since", "before", "through"):
        return _newest(period, today)
    since, until = _newest(rest, today)
    return {"since": (since, None), "before": (None, since), "through": (None, until)}[first]


def _moving(which: str, words: list[str], today: date) -> Days:
    if len(words) == 2:
        days = int(words[0]) * (7 if words[1] == "weeks" else 1)
        return today - timedelta(days=days - 1), today + timedelta(days=1)
    (grain,) = words
    if grain == "week":
        begin = today - timedelta(days=today.weekday() + (7 if which == "last" else 0))
        return begin, begin + timedelta(days=7)
    size = SIZES[grain]
    number = today.year * 12 + today.month - 1  # of months since year 0
    number -= number % size + (size if which == "last" else 0)
    return _first(number), _first(number + size)


def _between(begin: str, end: str, today: date) -> Days:
    year = _year(begin)
    if year is not None and _year(end) is None:
        since, (_, until) = _in(begin, year)[0], _in(end, year)
        return since, until if until > since else _in(end, year + 1)[1]
    last, until = _newest(end, today)
    if year is not None:
        since = _in(begin, year)[0]
    else:
        since = max(each for y in (last.year, last.year - 1) if (each := _in(begin, y)[0]) <= last or y < last.year)
    if since >= until:
        raise ValueError(f"{begin!r} does not come before {end!r}")
    return since, until


def _newest(point: str, today: date) -> tuple[date, date]:
    """Days of a named point; without its year the newest that has begun."""
    year = _year(point)
    if year is not None:
        return _in(point, year)
    for year in range(today.year, today.year - 9, -1):  # February 29 is not in every one
        try:
            found = _in(point, year)
        except ValueError:
            continue
        if found[0] <= today:
            return found
    raise ValueError(f"there is no {point!r}")


def _year(point: str) -> int | None:
    last = point.split()[-1]
    return int(last) if re.fullmatch(r"[12][0-9]{3}", last) else None


def _in(point: str, year: int) -> tuple[date, date]:
    """Days of a point in a year; a year that is named itself is the caller's to give."""
    words = [word for word in point.split() if not re.fullmatch(r"[12][0-9]{3}", word)]
    if not words:
        return date(year, 1, 1), date(year + 1, 1, 1)
    if words[0].startswith("Q"):
        number = year * 12 + 3 * (int(words[0][1]) - 1)
        return _first(number), _first(number + 3)
    number = year * 12 + MONTHS.index(words[0])
    if len(words) == 1:
        return _first(number), _first(number + 1)
    day = date(year, MONTHS.index(words[0]) + 1, int(words[1]))
    return day, day + timedelta(days=1)


def _first(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)
