"""A day is unusual beside its own weekday, once, and not because a week has its days."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from assets.warehouse.anomalies import unusual

START = date(2024, 1, 1)


def days(count: int, noise: float = 5.0) -> dict[date, float]:
    """A hundred on weekdays, twice that at weekends."""
    chance = np.random.default_rng(2)
    dates = [START + timedelta(days=n) for n in range(count)]
    return {d: (200.0 if d.weekday() >= 5 else 100.0) + float(chance.normal(0, noise)) for d in dates}


def test_a_weekend_is_usual_and_a_broken_day_is_not() -> None:
    values = days(120)
    assert unusual(values, START, START + timedelta(days=120)) == []
    broken = START + timedelta(days=100)
    values[broken] = 5.0
    (found,) = unusual(values, START, START + timedelta(days=120))
    assert (found.day, found.value) == (broken, 5.0)
    assert found.deviations < -6
    assert abs(found.usual - (200 if broken.weekday() >= 5 else 100)) < 20
    assert unusual(values, START, broken) == []


def test_too_few_weeks_say_nothing_and_a_constant_is_allowed_to_move_a_little() -> None:
    values = days(28)
    values[START + timedelta(days=27)] = 10_000.0
    assert unusual(values, START, START + timedelta(days=28)) == []
    still = dict.fromkeys(days(90), 50.0)
    last = START + timedelta(days=89)
    assert unusual({**still, last: 51.0}, START, START + timedelta(days=90)) == []
    assert [u.day for u in unusual({**still, last: 70.0}, START, START + timedelta(days=90))] == [last]


def test_a_day_on_which_nothing_came_is_unusual_unless_such_days_are_usual() -> None:
    values = days(120)
    silent = START + timedelta(days=100)
    del values[silent]
    (found,) = unusual(values, START, START + timedelta(days=120))
    assert (found.day, found.value, found.deviations) == (silent, None, -float("inf"))
    closed = {day: value for day, value in days(120).items() if day.weekday() != 6}
    assert unusual(closed, START, START + timedelta(days=120)) == []
