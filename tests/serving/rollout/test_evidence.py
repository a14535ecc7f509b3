"""The evidence: exact under any batching, false alarms within their bound, faults found. By simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.streams import Stream, engine, stream
from serving.rollout.evidence import Evidence, RunningMean, SampleRatio

RUNS = 2000
# Of 2,000 runs at 1%, 20 are expected at the very boundary; more than 35 has a probability below 0.1%.
MOST = 35


def evidence_of(s: Stream, margin: float = 0.002) -> np.ndarray:
    gate = Evidence(margin, 0.01)
    return gate.update(s.at, s.new, s.weight, s.failed.astype(float), np.zeros(len(s.at)))[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 40), st.booleans(), st.sampled_from([0.05, 0.3, 0.5, 0.9]), st.floats(0, 1), st.floats(0, 1)
        ),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.integers(0, 40), max_size=5),
    st.booleans(),
)
# Waits that only in floats sum up to less, or not, than when fresh gamblers begin.
@example([(wait, False, 0.05, 0.0, 0.0) for wait in (0.2, 2.9, 0.9, 26.2, 1.0)], [2], False)
def test_batches_do_not_matter(rows: list[tuple[float, bool, float, float, float]], cuts: list[int], bet: bool) -> None:
    waits, new, weight, outcome, centre = (np.array(x) for x in zip(*rows, strict=True))
    arrays = (np.cumsum(waits), new.astype(bool), weight, outcome, centre)
    whole, parts = (Evidence(0.01, 0.1, 30.0, failure_bet=bet) for _ in range(2))
    expected = whole.update(*arrays)
    found = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(rows)], strict=True):
        found.append(parts.update(*(a[begin:end] for a in arrays)))
    for which in (0, 1):
        np.testing.assert_allclose(np.concatenate([f[which] for f in found]), expected[which], rtol=1e-9)
    assert (expected[0] >= 0).all()
    assert (expected[1] >= 0).all()


def test_it_is_the_product_of_its_bets() -> None:
    """By hand: two requests, one fraction at a time."""
    from serving.rollout import evidence

    gate = Evidence(0.0, 0.1, 30.0, failure_bet=False)
    at, new = np.array([0.0, 1.0]), np.array([True, False])
    weight, outcome = np.array([0.1, 0.1]), np.array([1.0, 0.0])
    rollback, promote = gate.update(at, new, weight, outcome, np.array([0.5, 0.5]))
    z = (0.5 / 0.1, 0.5 / 0.9)
    low, high = max(0.5 / 0.1, 0.5 / 0.9), max(0.5 / 0.1, 0.5 / 0.9)
    wealth = [np.prod([1 + f / low * x for x in z]) for f in evidence.FRACTIONS]
    assert rollback[-1] == pytest.approx(np.mean(wealth) * evidence.FIRST_STAKE + 1 - evidence.FIRST_STAKE)
    gain = [np.prod([1 + f / (high - 0.1) * (0.1 - x) for x in z]) for f in evidence.FRACTIONS]
    assert promote[-1] == pytest.approx(np.mean(gain))


def test_bad_arguments_change_nothing() -> None:
    gate = Evidence(0.0, 0.1)
    one = np.array([1.0])
    with pytest.raises(ValueError, match="weights"):
        gate.update(one, one > 0, one, one, one * 0)
    with pytest.raises(ValueError, match="outcomes"):
        gate.update(one, one > 0, one / 2, one * 2, one * 0)
    assert (gate.rollback, gate.promote, gate.count) == (1, 1, 0)


@pytest.mark.parametrize(
    ("stable", "new"),
    [
        (0.005, 0.007),
        (lambda t: 0.005 + 0.05 * (t > 200), lambda t: 0.007 + 0.05 * (t > 200)),
    ],
    ids=["at the margin", "at the margin of a base rate that jumps"],
)
def test_false_alarms_stay_within_alpha_at_every_look(
    stable: float | Callable[[np.ndarray], np.ndarray], new: float | Callable[[np.ndarray], np.ndarray]
) -> None:
    alarms = sum(bool((evidence_of(stream(stable, new, 600, seed)) >= 100).any()) for seed in range(RUNS))
    assert alarms <= MOST


def test_a_version_at_the_promotion_margin_is_promoted_at_most_as_often_as_stated() -> None:
    wrong = 0
    for seed in range(RUNS):
        s = stream(0.005, 0.015, 600, seed)
        gate = Evidence(0.002, 0.01)
        promote = gate.update(s.at, s.new, s.weight, s.failed.astype(float), np.zeros(len(s.at)))[1]
        wrong += bool((promote >= 20).any())
    assert wrong <= 0.05 * RUNS + 3 * np.sqrt(0.05 * 0.95 * RUNS)


@pytest.mark.parametrize(("rate", "within", "bad"), [(0.05, 400, 45), (0.2, 120, 25), (1.0, 15, 8)])
def test_a_broken_version_is_rolled_back(rate: float, within: float, bad: int) -> None:
    found = [engine(stream(0.005, rate, within, seed)) for seed in range(200)]
    assert sum(v.outcome == "rolled_back" for v in found) >= 198
    assert np.quantile([v.bad for v in found], 0.95) <= bad


def test_a_healthy_version_is_promoted() -> None:
    found = [engine(stream(0.005, 0.005, 900, seed)) for seed in range(200)]
    assert sum(v.outcome == "promoted" for v in found) >= 190
    assert not [v for v in found if v.outcome == "rolled_back"]


def test_an_outage_that_both_share_rolls_nobody_back() -> None:
    def outage(t: np.ndarray) -> np.ndarray:
        return 0.005 + 0.6 * ((t > 100) & (t < 130))

    found = [engine(stream(outage, outage, 400, seed)) for seed in range(400)]
    assert sum(v.outcome == "rolled_back" for v in found) <= 2


def test_a_fault_that_begins_late_is_found_as_fast_as_an_early_one() -> None:
    """What the fresh gamblers are for: without them the wealth lost meanwhile must be won back first."""

    def late(t: np.ndarray) -> np.ndarray:
        return np.where(t < 240, 0.005, 1.0)

    with_restarts, without = (
        [engine(stream(0.005, late, 300, seed), promote_from=1, restart_s=r).seconds - 240 for seed in range(100)]
        for r in (30.0, 1e9)
    )
    assert np.quantile(with_restarts, 0.9) <= 4
    assert np.median(with_restarts) < np.median(without)


def test_a_slower_version_is_found_by_the_share_of_slow_requests() -> None:
    """Stable's 95th percentile marks a slow request; the new version is 1.3 times as slow, 1.1 are allowed."""
    rng = np.random.default_rng(3)
    found = 0
    for seed in range(60):
        s = stream(0.0, 0.0, 600, seed)
        times = rng.lognormal(3.0, 0.3, len(s.at)) * np.where(s.new, 1.3, 1.0)
        slow = (times / np.where(s.new, 1.1, 1.0) > np.exp(3.0 + 0.3 * 1.645)).astype(float)
        gate = Evidence(0.0, 0.05)
        found += bool((gate.update(s.at, s.new, s.weight, slow, np.full(len(slow), 0.05))[0] >= 333).any())
    assert found >= 57


def test_the_sample_ratio_sees_a_tilted_router_and_not_a_fair_one() -> None:
    fair, tilted = (
        [SampleRatio().update(s.new, s.weight) for s in (stream(0, 0, 1200, seed, tilt=tilt) for seed in range(300))]
        for tilt in (1.0, 1.2)
    )
    assert sum(bool((v >= 1000).any()) for v in fair) <= 2
    assert sum(bool((v >= 1000).any()) for v in tilted) >= 285


def test_a_running_mean_is_known_beforehand() -> None:
    mean = RunningMean(first=0.5, prior=2)
    assert mean.before(np.array([1.0, 0.0])).tolist() == [0.5, 2 / 3]
    assert mean.before(np.array([1.0])).tolist() == [0.5]
    assert mean.before(np.array([])).tolist() == []


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_starts_one_gambler_and_hides_nothing(jump: float) -> None:
    for seed in range(30):
        s = stream(0.005, lambda t: np.where(t < 100, 0.005, 1.0), 160, seed)
        jumped = Stream(s.at + np.where((s.at > 90) & (s.at < 110), jump, 0.0), s.weight, s.new, s.failed)
        as_it_was, found = engine(s), engine(jumped)
        assert as_it_was.outcome == found.outcome == "rolled_back"
        assert found.bad <= as_it_was.bad + 2
        healthy = stream(0.005, 0.005, 160, seed)
        jumped = Stream(healthy.at + np.where(healthy.at > 90, jump, 0.0), healthy.weight, healthy.new, healthy.failed)
        assert engine(jumped).outcome != "rolled_back"


def test_a_fault_of_few_requests_is_never_taken_for_health() -> None:
    """Three requests in a hundred take five times as long: a 99th percentile sees it, often late, not promoting it."""
    promoted = rolled_back = 0
    for seed in range(80):
        s, rng = stream(0.0, 0.0, 900, seed), np.random.default_rng(seed)
        times = rng.lognormal(3.0, 0.4, len(s.at)) * np.where(s.new & (rng.random(len(s.at)) < 0.03), 5.0, 1.0)
        slow = (times / np.where(s.new, 1.1, 1.0) > np.exp(3.0 + 0.4 * 2.326)).astype(float)
        gate = Evidence(0.0, 0.02)
        rollback, promote = gate.update(s.at, s.new, s.weight, slow, np.full(len(slow), 0.01))
        rolled_back += bool((0.3 * rollback + 0.7 >= 100).any())
        promoted += bool((promote >= 20).any())
    assert promoted <= 8, "one in twenty may be"
    assert rolled_back >= 30
