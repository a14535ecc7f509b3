"""A decision follows from declared costs, and says why and why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.monitoring.decision import (
    Backtest,
    Calendar,
    ExpectedCost,
    LargestPSI,
    Limits,
    ManyDrifted,
    Never,
    Prices,
    Review,
)

POLICY = ExpectedCost(
    prices=Prices(nat=1, retraining=200, rollout=20), limits=Limits(labelled=1000, cooldown=2), horizon=1
)


def review(**changes: object) -> Review:
    test = Backtest(champion=0.50, candidate=0.49, low=-0.002, high=0.022, rows=14_000)
    declared = {"period": "2013-06", "number": 2, "labelled": 28_000, "coverage": 0.97, "until_next": 28_000}
    return Review(**{**declared, "backtest": test, **changes})  # type: ignore[arg-type]


def test_it_retrains_when_the_saving_is_above_the_cost_significant_or_not() -> None:
    verdict = POLICY.decide(review())
    assert verdict.action == "retrain"
    assert "saves 0.0100 nats a prediction (-0.0020 to 0.0220, 14,000 predictions), 280 over the 28,000" in verdict.why
    assert verdict.why.endswith("retraining and rollout cost 220")
    assert verdict.numbers["saving"] == pytest.approx(280)


def test_a_saving_counts_for_as_long_as_a_version_is_expected_to_serve() -> None:
    longer = POLICY.model_copy(update={"horizon": 3})
    asked = review(until_next=10_000)
    assert POLICY.decide(asked).action == "wait"
    verdict = longer.decide(asked)
    assert verdict.action == "retrain"
    assert "300 over the 30,000 of the next 3 reviews" in verdict.why
    assert (verdict.numbers["saving"], verdict.numbers["horizon"]) == (pytest.approx(300), 3)


def test_a_candidate_that_is_worse_is_said_to_lose() -> None:
    verdict = POLICY.decide(review(backtest=Backtest(0.49, 0.50, low=-0.022, high=0.002, rows=14_000)))
    assert verdict.action == "wait"
    assert "loses 0.0100 nats a prediction (-0.0020 to 0.0220, 14,000 predictions), 280 over the 28,000" in verdict.why
    assert verdict.numbers["saving"] == pytest.approx(-280)


@pytest.mark.parametrize(
    ("changes", "action", "told"),
    [
        ({"until_next": 20_000}, "wait", "200 over the 20,000 until the next review"),
        ({"until_next": 20_000, "alarmed": True}, "alert", "newer data does not cure it"),
        ({"since_retraining": 1}, "wait", "the cooldown is 2"),
        ({"since_retraining": 2}, "retrain", "saves"),
        ({"labelled": 999}, "wait", "999 new labels, 1,000 are needed"),
        ({"labelled": 999, "alarmed": True}, "alert", "are needed"),
        ({"backtest": None}, "wait", "no backtest: too few labels"),
        ({"coverage": 0.2}, "alert", "only 20% of the predictions have a label"),
        ({"coverage": 0.0, "labelled": 0, "backtest": None}, "alert", "cannot be said"),
    ],
)
def test_each_reason_is_said(changes: dict[str, object], action: str, told: str) -> None:
    verdict = POLICY.decide(review(**changes))
    assert (verdict.action, told in verdict.why) == (action, True), verdict.why
    assert verdict.numbers["cost"] == 220


@given(gain=st.floats(-0.2, 0.2), until=st.integers(0, 10**6), cost=st.floats(0, 10**4), more=st.floats(0, 10**4))
def test_a_higher_price_never_makes_it_retrain_and_a_worse_candidate_never_does(
    gain: float, until: int, cost: float, more: float
) -> None:
    def action(retraining: float) -> str:
        test = Backtest(0.5, 0.5 - gain, gain - 0.01, gain + 0.01, 10_000)
        policy = ExpectedCost(prices=Prices(retraining=retraining, rollout=0))
        return policy.decide(review(backtest=test, until_next=until)).action

    if action(cost) == "wait":
        assert action(cost + more) == "wait"
    if gain <= 0:
        assert action(cost) == "wait"


def test_the_baselines_do_what_their_names_say() -> None:
    def months(policy: object) -> list[int]:
        found = (policy.decide(review(number=n, drifted=n, features=9, psi=n / 10)) for n in range(1, 9))  # type: ignore[attr-defined]
        return [n for n, verdict in enumerate(found, start=1) if verdict.action == "retrain"]

    assert months(Never()) == []
    assert months(Calendar()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert months(Calendar(every=2)) == [2, 4, 6, 8]
    assert months(Calendar(every=2, offset=1)) == [3, 5, 7]
    assert months(ManyDrifted(k=7)) == [7, 8]
    assert months(LargestPSI(threshold=0.55)) == [6, 7, 8]
