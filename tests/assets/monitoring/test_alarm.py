"""The alarm keeps its rate of false ones, on independent days and on weeks that hang together, and it finds harm."""

from __future__ import annotations

import numpy as np
import pytest

from assets.monitoring.alarm import Alarm, Null

WORSE = Null("worse", tolerance=0.002, clip=0.1)
GAP = Null("calibration", tolerance=0.02, clip=0.2, two_sided=True)
YEARS = 60


def days_of(count: int, mean: float, deviation: float, block: int, seed: int) -> np.ndarray:
    """Daily means at a mean: independent ones, or alike within blocks of days."""
    rng = np.random.default_rng(seed)
    return mean + deviation * np.repeat(rng.normal(size=count // block + 1), block)[:count]


def alarms(alarm: Alarm, columns: dict[str, np.ndarray]) -> list[int]:
    """Days on which it was raised; somebody looks each time, and it begins anew."""
    found = []
    for day in range(len(next(iter(columns.values())))):
        if alarm.look({name: float(values[day]) for name, values in columns.items()}):
            found.append(day)
            alarm.reset()
    return found


@pytest.mark.parametrize("block", [1, 7])
@pytest.mark.parametrize("false_alarms", [1.0, 0.5])
def test_a_model_at_the_tolerance_is_alarmed_at_most_as_often_as_declared(block: int, false_alarms: float) -> None:
    """Exactly at the null's boundary, where a healthy model is not: the most that the promise may cost."""
    days = YEARS * 365
    columns = {
        "worse": days_of(days, WORSE.tolerance, 0.03, block, seed=block),
        "calibration": days_of(days, GAP.tolerance, 0.04, block, seed=10 + block),
    }
    rate = len(alarms(Alarm((WORSE, GAP), false_alarms), columns)) / YEARS
    assert rate <= 1.25 * false_alarms
    assert rate > 0.2 * false_alarms, "and it is not so careful that it could never be raised"


def test_days_that_bear_no_evidence_raise_it_after_a_declared_year_and_not_before() -> None:
    """Exactly at the tolerance wealth only grows by those who enter, of whom the first costs no time."""
    found = alarms(Alarm((WORSE,)), {"worse": np.full(10 * 365, WORSE.tolerance)})
    assert 365 <= found[0] + 1 <= 365 + 28
    assert len(found) <= 10


def test_bets_on_single_days_take_a_week_s_luck_for_evidence() -> None:
    """The control, by which the test before can tell: such weeks do break the promise of bets on days."""
    columns = {"worse": days_of(YEARS * 365, WORSE.tolerance, 0.03, 7, seed=7)}
    assert len(alarms(Alarm((WORSE,), block_days=1, restart_blocks=28), columns)) / YEARS > 1.5


def test_a_healthy_model_is_alarmed_more_seldom() -> None:
    columns = {"worse": days_of(YEARS * 365, 0.0, 0.02, 1, 3), "calibration": days_of(YEARS * 365, 0.0, 0.02, 1, 4)}
    assert len(alarms(Alarm((WORSE, GAP)), columns)) / YEARS < 0.8


@pytest.mark.parametrize(("harm", "within"), [(0.05, 49), (0.02, 150)])
def test_harm_is_found(harm: float, within: int) -> None:
    delays = []
    for seed in range(40):
        healthy, after = days_of(200, 0.0, 0.03, 1, seed), days_of(400, harm, 0.03, 1, 100 + seed)
        found = alarms(Alarm((WORSE,)), {"worse": np.concatenate([healthy, after])})
        late = [day for day in found if day >= 200]
        delays.append(late[0] - 200 if late else 400)
    assert np.median(delays) <= within


def test_a_gap_to_either_side_is_found_and_days_without_a_number_are_none() -> None:
    for sign in (1, -1):
        alarm = Alarm((GAP,))
        assert alarms(alarm, {"calibration": days_of(200, sign * 0.08, 0.03, 1, 5)})
    alarm = Alarm((WORSE, GAP))
    for _ in range(400):
        before = alarm.evidence
        alarm.look({})
        assert alarm.evidence >= before
    assert alarm.evidence == pytest.approx(399 // 28 + 1), "who bets on nothing keeps what they came with"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Null("x", tolerance=0.3, clip=0.2),
        lambda: Null("x", tolerance=-0.1, clip=0.2),
        lambda: Alarm(()),
        lambda: Alarm((WORSE,), false_alarms=0),
        lambda: Alarm((WORSE,), restart_blocks=0),
    ],
)
def test_what_cannot_be_kept_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()  # type: ignore[operator]
