"""Pairs of answers: found in any order, lost ones counted, decided within the stated error."""

from __future__ import annotations

import numpy as np
import pytest

from serving.rollout.evidence import PairEvidence
from serving.rollout.observations import Observation
from serving.rollout.plan import ReleasePlan, parse_plan
from serving.rollout.shadow import LOST_SECONDS, Answer, ShadowEvaluation, _parse, decide

NEW, STABLE = "wilting-v2", "wilting-v1"


def plan(**shadow: object) -> ReleasePlan:
    declared = {"model": "wilting", "version": "2", "strategy": "shadow", "shadow": shadow, "deadline_s": 600}
    return parse_plan(declared, "the test's plan")


def answer(number: int, arm: str, score: float, at: float | None = None) -> Answer:
    return Answer(100.0 + number / 10 if at is None else at, f"r-{number}", arm, score)


def test_pairs_are_found_in_any_order_and_of_this_release_only() -> None:
    evaluation = ShadowEvaluation(plan(tolerance=0.1), NEW, since=100.0)
    evaluation.take([answer(1, NEW, 0.3), answer(2, STABLE, 0.9), answer(0, STABLE, 0.1, at=99.0)])
    evaluation.take([answer(1, STABLE, 0.35), answer(2, NEW, 0.75), answer(0, NEW, 0.9, at=99.0)])
    gate = evaluation.look().gates["agreement"]
    assert (evaluation.pairs, evaluation.disagreed, gate.new) == (2, 1, 0.5)


def test_a_copy_that_was_not_answered_disagrees_unless_only_some_are_copied() -> None:
    everything, some = (ShadowEvaluation(plan(percent=p), NEW, since=0.0) for p in (100, 50))
    for evaluation in (everything, some):
        evaluation.take([answer(1, STABLE, 0.5)])
        evaluation.take([answer(2, NEW, 0.5, at=100.1 + LOST_SECONDS + 1)])
    assert (everything.pairs, everything.lost) == (1, 1)
    assert (some.pairs, some.lost) == (0, 0)


def test_texts_that_the_gateway_compared_count_by_their_difference() -> None:
    evaluation = ShadowEvaluation(plan(tolerance=0.1), NEW, since=100.0)
    assert "only requests with temperature 0 are copied" in decide(evaluation.plan, 5, None, evaluation.look()).why
    pairs = [(99.0, 1.0), (101.0, 0.0), (102.0, 0.1), (103.0, 0.2), (104.0, 1.0)]
    evaluation.compare([Observation(at, f"r-{at}", "m", NEW, 200, "r", None, {"difference": d}) for at, d in pairs])
    evaluation.compare([Observation(105.0, "r-105", "m", NEW, 200, "r", None, {"latency_ms": 3})])
    assert (evaluation.pairs, evaluation.disagreed) == (4, 2)


def test_batches_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    found = [answer(n, arm, float(s)) for n, s in enumerate(rng.random(300)) for arm in (NEW, STABLE)]
    whole, parts = (ShadowEvaluation(plan(), NEW, since=0.0) for _ in range(2))
    whole.take(found)
    for one in found:
        parts.take([one])
    assert parts.look().gates["agreement"].promote == pytest.approx(whole.look().gates["agreement"].promote, rel=1e-9)


def test_the_evidence_errs_as_seldom_as_it_says() -> None:
    """At the boundary itself, looked at after every pair, either side is crossed in at most its share of runs."""
    rng, above, below = np.random.default_rng(7), 0, 0
    for _ in range(1000):
        up, down = PairEvidence(0.05).update((rng.random(2000) < 0.05).astype(float))
        above += bool((up >= 100).any())
        below += bool((down >= 20).any())
    assert above <= 21  # 10 expected at most; more has a probability below 0.1%
    assert below <= 75  # 50 expected at most


@pytest.mark.parametrize(
    ("rate", "action"), [(0.0, "promote"), (0.01, "promote"), (0.2, "roll_back"), (1.0, "roll_back")]
)
def test_what_is_clear_is_decided(rate: float, action: str) -> None:
    rng = np.random.default_rng(1)
    evaluation = ShadowEvaluation(plan(tolerance=0.1, min_pairs=200), NEW, since=0.0)
    for number in range(1500):
        evaluation.take([answer(number, STABLE, 0.2), answer(number, NEW, 0.9 if rng.random() < rate else 0.2)])
        decision = decide(evaluation.plan, 10.0, None, evaluation.look())
        if decision.action != "wait":
            break
    assert decision.action == action
    assert (action == "roll_back") or evaluation.pairs >= 200


def test_without_pairs_it_waits_then_holds_and_a_stopped_one_is_only_rolled_back() -> None:
    evaluation = ShadowEvaluation(plan(), NEW, since=0.0)
    assert decide(evaluation.plan, 599, None, evaluation.look()).action == "wait"
    assert decide(evaluation.plan, 600, None, evaluation.look()).action == "hold"
    assert decide(evaluation.plan, 999, "paused: lunch", evaluation.look()).why == "paused: lunch"


def test_lines_that_are_no_event_are_passed_over() -> None:
    assert _parse(b"{") is None
    assert _parse(b'{"served_at": "2024-06-01T00:00:00Z", "request_id": "a", "arm": "b"}') is None
    found = _parse(b'{"served_at": "2024-06-01T00:00:00Z", "request_id": "a", "arm": "b", "score": 0.5}')
    assert found == Answer(1717200000.0, "a", "b", 0.5)
