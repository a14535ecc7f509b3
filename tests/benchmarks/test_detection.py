"""Streams change when they say, detectors are counted by hand, and a rule computed here is the adapter's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection import OURS, alarms_a_year, both, scene_rows
from benchmarks.detectors import (
    NULL,
    THRESHOLDS,
    Figures,
    adwin,
    by_alarm,
    drifted,
    figures,
    half_drifted,
    page_hinkley,
    tuned,
)
from benchmarks.drifting import FLIPPED, SCENES, Scene, live

BY_NAME = {scene.name: scene for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_stream_is_harmed_when_it_says_and_not_before(scene: Scene) -> None:
    assert 365 <= live(BY_NAME["SEA"], 30, after=1, rows_a_day=1).change < 730
    stream = live(scene, 3, before=56, after=56 + 2 * scene.over_days, rows_a_day=250)
    days = 112 + 2 * scene.over_days
    assert stream.loss.shape == (days, 250)
    assert stream.rows.shape == (days, 250, len(stream.kinds))
    early, late = stream.daily[:56].mean(), stream.daily[-56:].mean()
    assert early == pytest.approx(stream.expected, abs=0.04 if scene.weeks else 0.02)
    assert (late - early > 0.008) == scene.harm
    assert stream.expected >= 0.9 * FLIPPED * (1 - FLIPPED), "no model errs less than the flipped labels"


def test_a_stream_is_drawn_again_the_same_and_another_seed_is_another() -> None:
    one, two, other = (live(BY_NAME["SEA"], seed, 5, 5, 20) for seed in (1, 1, 2))
    assert np.array_equal(one.loss, two.loss)
    assert not np.array_equal(one.loss, other.loss)


def test_rows_of_a_week_share_their_luck_where_it_says_so() -> None:
    weeks, days = (live(BY_NAME[name], 7, 210, 7).daily[:210] for name in ("SEA, weeks alike", "SEA"))
    assert weeks.reshape(-1, 7).mean(axis=1).std() > 2 * days.reshape(-1, 7).mean(axis=1).std()


def test_figures_by_hand() -> None:
    found = figures([[30, 500, 512], [], [399], [415]], changes=[500, 400, 400, 400], after=20)
    assert found.delays == (1, 20, 20, 16), "the end of the first changed day is after one day"
    assert found.missed == 0.5
    assert found.false_share == 0.25, "day 30 is more than a year before"
    assert found.false_a_year == pytest.approx(2 * 365 / 1700)


def test_every_detector_finds_what_nobody_could_miss() -> None:
    rng = np.random.default_rng(1)
    daily = np.concatenate([rng.normal(0.1, 0.02, 200), rng.normal(0.6, 0.02, 100)])
    rows = np.repeat(daily, 20)
    for found in (by_alarm(daily, 0.1), adwin(daily, 1), adwin(rows, 20), page_hinkley(rows, 20)):
        assert len(found) == len(set(found))
        assert 0 <= min(day for day in found if day >= 200) - 200 <= 60
    assert by_alarm(daily[:200], 0.1) == []


def test_the_tuned_rival_is_as_quiet_as_the_alarm_promises() -> None:
    years = [np.random.default_rng(seed).normal(0.1, 0.025, 365) for seed in range(10)]
    threshold = tuned(years)
    assert sum(len(page_hinkley(year, 1, threshold)) for year in years) <= 10
    below = THRESHOLDS[THRESHOLDS.index(threshold) - 1]
    assert sum(len(page_hinkley(year, 1, below)) for year in years) > 10
    with pytest.raises(ValueError, match="quiet enough"):
        tuned([np.resize([0.0, 100.0], 365)], false_alarms=0.1)


def test_the_alarm_is_raised_about_as_often_as_declared_at_the_tolerance_and_more_often_above() -> None:
    assert 0.3 < alarms_a_year(40, NULL.tolerance, block=7, begun=0) < 1.5
    assert alarms_a_year(40, 0.06, block=7, begun=0) > 2


def test_half_of_the_inputs_is_what_drifts() -> None:
    quiet, moved = (live(BY_NAME[name], 1, 30, 60) for name in ("SEA", "SEA, inputs only"))
    assert half_drifted(quiet, 30) == []
    assert half_drifted(moved, 30) == [59, 89]
    assert drifted(moved.seen, moved.rows[60:].reshape(-1, 3), moved.kinds) == [True, False, True]


@pytest.mark.parametrize("days", [7, 30], ids=["tested", "measured"])
def test_the_rule_is_the_adapter_s(days: int) -> None:
    decided = []
    for name in ("SEA, inputs only", "STAGGER", "Agrawal, small"):
        stream = live(BY_NAME[name], 2, 30, 60)
        for start in (0, 60):
            ours, theirs = both(stream, start, start + days)
            assert ours == theirs
            decided += ours
    assert {True, False} <= set(decided)


def test_rows_hold_the_alarm_to_its_promise_and_no_other() -> None:
    found = {OURS: Figures(0.5, 1.2, (28.0, 35.0), 0.0), "another": Figures(0.0, 0.0, (3.0, 365.0), 0.5)}
    first, *others = scene_rows(BY_NAME["SEA"], found)
    assert first.holds is False
    assert [row.holds for row in others] == [None] * 5
    assert [(row.value, row.rival_value) for row in others[:3]] == [(1.2, 0.0), (0.5, 0.0), (31.5, 184.0)]
    harmless = scene_rows(BY_NAME["SEA, inputs only"], found)
    assert [row.value for row in harmless if "without harm" in row.name] == [1.0]
