"""Observations become outcomes at gates; the same observations give the same look, however they arrive."""

from __future__ import annotations

import random
from typing import Any

import pytest

from serving.rollout.evaluate import BASELINE_REQUESTS, Evaluation
from serving.rollout.observations import Observation, Report
from serving.rollout.plan import ReleasePlan, parse_plan

NEW, STABLE = "wilting-v2", "wilting-v1"


def plan(**gates: Any) -> ReleasePlan:
    return parse_plan({"model": "wilting", "version": "2", "strategy": "canary", "gates": gates}, "the test's plan")


def seen(number: int, arm: str, status: int = 200, percent: int | None = 20, **measures: float) -> Observation:
    return Observation(1000.0 + number, f"r-{number}", "wilting", arm, status, "r", percent, measures)


def traffic(count: int, seed: int = 1, percent: int = 20, slow: float = 1.0, fail: float = 0.0) -> list[Observation]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        arm = NEW if rng.random() < percent / 100 else STABLE
        status = 500 if arm == NEW and rng.random() < fail else 200
        latency = rng.lognormvariate(2, 0.4) * (slow if arm == NEW else 1.0)
        found.append(seen(number, arm, status, percent, latency_ms=latency, refused=0.0))
    return found


def test_batches_and_a_second_life_do_not_matter() -> None:
    """A controller that was killed reads everything anew, with the baseline that the log has."""
    observations = traffic(1500, slow=1.3, fail=0.02)
    whole = Evaluation(plan(), "r", NEW)
    for one in observations:
        whole.take([one])
    assert whole.baseline is not None
    again = Evaluation(plan(), "r", NEW, whole.baseline)
    again.take(observations[:700])
    again.look()
    again.take(observations[700:])
    a, b = whole.look(), again.look()
    assert a.by_percent == b.by_percent
    assert (a.new_count, a.stable_count) == (b.new_count, b.stable_count)
    for name, gate in a.gates.items():
        assert b.gates[name].rollback == pytest.approx(gate.rollback, rel=1e-9)
        assert b.gates[name].promote == pytest.approx(gate.promote, rel=1e-9)
        assert b.gates[name].new_count == gate.new_count


def test_what_is_not_of_this_comparison_counts_nothing() -> None:
    evaluation = Evaluation(plan(), "r", NEW)
    evaluation.take([
        Observation(1.0, "a", "wilting", NEW, 500, "another", 20),
        Observation(1.0, "b", "wilting", NEW, 500, None, None),
        seen(3, NEW, 500, percent=100),
        seen(4, NEW, 500, percent=0),
    ])  # fmt: skip
    look = evaluation.look()
    assert (look.new_count, look.stable_count, look.combined) == (0, 0, 1)


def test_errors_are_of_the_service_and_refusals_of_the_request() -> None:
    evaluation = Evaluation(plan(latency=[]), "r", NEW)
    evaluation.take([seen(n, STABLE, 200, refused=0.0) for n in range(10)])
    evaluation.take([seen(11, NEW, 422, refused=1.0), seen(12, NEW, 503), seen(13, NEW, 200, refused=0.0)])
    gates = evaluation.look().gates
    assert gates["errors"].new == pytest.approx(1 / 3)
    assert gates["refused"].new == 0.5, "a failed request says nothing of refusals"


def test_while_stable_is_down_the_other_is_not_alone_to_blame_for_being_slow() -> None:
    """Both come back from an outage: one does not answer yet, the other answers slowly, each for a while."""
    rng = random.Random(3)
    evaluation = Evaluation(plan(), "r", NEW)
    evaluation.prepare([seen(-n, STABLE, percent=None, latency_ms=10.0) for n in range(BASELINE_REQUESTS, 0, -1)])
    for number in range(400):
        arm = NEW if rng.random() < 0.5 else STABLE
        fails = (arm == STABLE) == (number < 200)
        evaluation.take([seen(number, arm, 503 if fails else 200, percent=50, latency_ms=500.0)])
    (latency,) = [gate for name, gate in evaluation.look().gates.items() if name.startswith("latency")]
    assert (latency.new, latency.stable) == (1, 1)
    assert latency.rollback < 1 / plan().alpha / 5


def test_the_baseline_is_frozen_from_stable_before_and_during() -> None:
    evaluation = Evaluation(plan(), "r", NEW)
    half = BASELINE_REQUESTS // 2
    evaluation.prepare([seen(n, STABLE, percent=None, latency_ms=float(n)) for n in range(half)])
    assert evaluation.baseline is None
    assert "answers of stable to know its latency by, 50 so far" in str(evaluation.look().awaiting)
    evaluation.take([seen(half + n, STABLE, latency_ms=float(half + n)) for n in range(half)])
    assert evaluation.baseline is not None
    assert evaluation.baseline["slow"]["latency_p95"] == pytest.approx(94.05)
    evaluation.take([seen(500 + n, STABLE, latency_ms=1e6) for n in range(500)])
    assert evaluation.baseline["slow"]["latency_p95"] == pytest.approx(94.05), "frozen is frozen"
    assert evaluation.look().gates["latency_p95"].stable_count == 500


def test_a_declared_slowdown_counts_as_none() -> None:
    slow, allowed = (
        Evaluation(plan(latency=[{"slower": s, "slack_ms": 0, "promote_margin": 0.1}], scalars=[]), "r", NEW)
        for s in (0.0, 0.5)
    )
    observations = traffic(4000, slow=1.45)
    for evaluation in (slow, allowed):
        evaluation.take(observations)
    assert slow.look().gates["latency_p95"].rollback > 1000
    assert allowed.look().gates["latency_p95"].rollback < 20
    assert allowed.look().gates["latency_p95"].promote > 20


def test_some_milliseconds_of_a_version_that_gets_little_traffic_count_as_none() -> None:
    """As measured: stable answers in 5 ms, and the same version with a twentieth of the traffic in 5 to 14."""
    rng = random.Random(4)
    strict, default = (Evaluation(plan(latency=[{"slack_ms": slack}], scalars=[]), "r", NEW) for slack in (0, None))
    for evaluation in (strict, default):
        evaluation.prepare(
            [seen(-n, STABLE, percent=None, latency_ms=rng.lognormvariate(1.6, 0.2)) for n in range(200, 0, -1)]
        )
    cold, warm = iter([25.9, 17.4, 11.8, 10.4, 9.0, 4.8, 5.5, 8.9, 11.3, 7.2, 14.0, 7.5, 10.7, 5.9]), 0
    for number in range(400):
        new = rng.random() < 0.05
        latency = next(cold, 9.0 if warm % 3 else 11.0) if new else rng.lognormvariate(1.6, 0.2)
        warm += new
        for evaluation in (strict, default):
            evaluation.take([seen(number, NEW if new else STABLE, percent=5, latency_ms=latency)])
    assert strict.look().combined > 100
    assert default.look().combined < 5


def test_a_scalar_is_bounded_and_has_a_direction() -> None:
    gate = {"measure": "score", "bounds": [0, 10], "worse": "lower", "promote_margin": 1}
    evaluation = Evaluation(plan(latency=[], scalars=[gate]), "r", NEW)
    rng = random.Random(2)
    for number in range(2000):
        new = rng.random() < 0.2
        evaluation.take([seen(number, NEW if new else STABLE, score=4.0 if new else 99.0)])
    found = evaluation.look().gates["score"]
    assert (found.new, found.stable) == (pytest.approx(4), pytest.approx(10))
    assert found.rollback > 1e6


def test_what_only_one_version_reports_is_no_evidence() -> None:
    gate = {"measure": "score", "promote_margin": 0.1}
    evaluation = Evaluation(plan(latency=[], scalars=[gate]), "r", NEW)
    evaluation.take([seen(n, NEW, score=0.0) for n in range(300)])
    found = evaluation.look().gates["score"]
    assert (found.rollback, found.promote, found.new_count, found.stable_count) == (1, 1, 300, 0)


def test_what_is_reported_later_counts_once_by_the_weight_of_its_request() -> None:
    """Losses that arrive when the labels do, doubled, out of order, and of requests that nobody knows."""
    gate = {"measure": "loss", "promote_margin": 0.1}
    evaluation, at_once = (Evaluation(plan(latency=[], scalars=[gate]), "r", NEW) for _ in range(2))
    rng = random.Random(5)
    asked, reports = [], []
    for number in range(1500):
        new = rng.random() < 0.2
        loss = min(1.0, max(0.0, rng.gauss(0.5 if new else 0.3, 0.2)))
        asked.append(seen(number, NEW if new else STABLE))
        reports.append(Report(5000.0 + number, f"r-{number}", "wilting", {"loss": loss, "other": 1.0}))
        at_once.take([Observation(**{**vars(asked[-1]), "measures": {"loss": loss}, "at": 5000.0 + number})])
    evaluation.take([*asked, *reports])
    evaluation.take([*reports, Report(9999.0, "nobody", "wilting", {"loss": 1.0})])
    late, soon = evaluation.look().gates["loss"], at_once.look().gates["loss"]
    assert (late.new_count, late.stable_count) == (soon.new_count, soon.stable_count)
    assert late.rollback == pytest.approx(soon.rollback, rel=1e-9)
    assert late.rollback > 1000


def ab(**segments: Any) -> ReleasePlan:
    declared = {
        "model": "wilting", "version": "2", "strategy": "ab", "segments": {"window_s": 60, **segments},
        "gates": {"latency": [], "scalars": [{"measure": "loss", "promote_margin": 0.1}]},
    }  # fmt: skip
    return parse_plan(declared, "the test's plan")


def visit(at: float, user: str | None, arm: str, **measures: float) -> Observation:
    return Observation(at, f"{user}-{at}", "wilting", arm, 200, "r", 50, measures, user)


def test_in_an_ab_release_a_user_counts_once_when_their_time_is_over() -> None:
    evaluation = Evaluation(ab(), "r", NEW)
    evaluation.take([visit(0, "ann", NEW, loss=1.0), visit(1, "bob", STABLE, loss=0.0), visit(2, None, NEW, loss=1.0)])
    evaluation.take([visit(59, "ann", NEW, loss=0.0)])
    assert evaluation.look().new_count == 0
    evaluation.take([Report(59.5, "bob-1", "wilting", {"loss": 1.0}), visit(62, "cid", STABLE, loss=0.0)])
    look = evaluation.look()
    gate = look.gates["loss"]
    assert (look.new_count, look.stable_count) == (1, 1)
    assert (gate.new, gate.stable) == (0.5, 0.0), "what was said at once is not said again by a report"
    evaluation.take([visit(200, "ann", NEW, loss=1.0)])
    assert evaluation.look().new_count == 1, "their time is over"


def test_requests_of_one_user_are_not_evidence_of_many() -> None:
    """Users differ, their requests do not: taken by request, chance between few users would look like a fault."""
    rng = random.Random(11)
    false_alarms = {"ab": 0, "canary": 0}
    for _ in range(40):
        users = {f"u{n}": (rng.random() < 0.5, float(rng.random() < 0.5)) for n in range(30)}
        visits = [
            visit(float(n), user, NEW if users[user][0] else STABLE, loss=users[user][1])
            for n, user in enumerate(rng.choices(list(users), k=600))
        ]
        for strategy in false_alarms:
            changed = {"strategy": strategy} | ({"steps": [50, 100]} if strategy == "canary" else {})
            declared = {**ab().model_dump(exclude={"steps", "strategy"}), **changed}
            evaluation = Evaluation(parse_plan(declared, "-"), "r", NEW)
            evaluation.take([*visits, visit(9999.0, "last", STABLE)])
            false_alarms[strategy] += evaluation.look().gates["loss"].rollback >= 100
    assert false_alarms["ab"] == 0
    assert false_alarms["canary"] >= 4, "the control: the same visits, each taken for a draw of its own"


def test_after_a_person_looked_at_the_router_its_split_is_judged_anew() -> None:
    evaluation, again = (Evaluation(plan(latency=[], scalars=[]), "r", NEW) for _ in range(2))
    tilted = [seen(n, NEW if n % 3 == 0 else STABLE) for n in range(900)]  # a third, a fifth is declared
    fair = [seen(1000 + n, NEW if n % 5 == 0 else STABLE) for n in range(900)]
    evaluation.take(tilted)
    assert evaluation.look().sample_ratio > 1000
    evaluation.count_split_from(1950.0)
    evaluation.take(fair)
    assert evaluation.look().sample_ratio < 10
    again.count_split_from(1950.0)
    again.take([*tilted, *fair])
    assert again.look().sample_ratio == pytest.approx(evaluation.look().sample_ratio)
