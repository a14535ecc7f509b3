"""A plan says what is wrong with it: file, field, expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan, parse_plan, read_plan


def test_a_declared_file_and_values_of_the_moment_make_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    file.write_text("model: wilting\nsmoke: {requests: 5, p95_ms: 100}\n")
    plan = read_plan(file, version="7", requested_by="me")
    assert (plan.model, plan.version, plan.smoke.requests, plan.strategy) == ("wilting", "7", 5, "blue_green")
    assert (plan.keep_previous, plan.ready_timeout_s, plan.smoke.max_error_rate) == (True, 120, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: wilting\nstrategy: red_green", "strategy: Input should be 'blue_green', 'canary'"),
        ("model: wilting\nsteps: [5, 50, 10, 100]", "weights rise from step to step, found [5, 50, 10, 100]"),
        ("model: wilting\nsteps: [5, 50]", "the last weight is 100"),
        ("model: wilting\nstrategy: canary\nsteps: [100]", "a canary has a step below 100"),
        ("model: wilting\nstrategy: canary\nsteps: [95, 100]", "at most 90"),
        ("model: wilting\nsteps: [{weight: 5, seconds: 3}, 100]", "steps.0.seconds: Extra inputs are not permitted"),
        ("model: wilting\nstrategy: rolling", "replicas: rolling replaces at least 2 servers"),
        (
            "model: wilting\nstrategy: rolling\nreplicas: 4\nsteps: [50, 100]",
            "a rolling release of 4 replicas has the weights [25, 50, 75, 100], found [50, 100]",
        ),
        ("model: wilting\ngates: {errors: {rollback_margin: 0.1}}", "gates.errors: Value error, promote_margin 0.01"),
        ("model: wilting\ngates: {latency: [{}, {}]}", "declared twice: latency_p95"),
        (
            "model: wilting\ngates: {latency: [{measure: speed}]}",
            "gates.latency.0.measure: Input should be 'latency_ms'",
        ),
        ("model: wilting\ngates: {scalars: [{measure: loss}]}", "gates.scalars.0.promote_margin: Field required"),
        ("model: wilting\ngates: {scalars: [{measure: loss, bounds: [1, 0], promote_margin: 0.1}]}", "low below high"),
        ("model: wilting\nstrategy: ab\nsteps: [10, 100]", "segments.weight says it"),
        ("model: wilting\nsegments: {by: mood}", "segments.by: Input should be 'header' or 'cookie'"),
        ("model: wilting\nalpha: 2", "alpha: Input should be less than 0.5"),
        ("model: wilting\nsmoke: {request: 5}", "smoke.request: Extra inputs are not permitted"),
        ("model: wilting\nsmoke: {max_error_rate: 1.5}", "smoke.max_error_rate: Input should be less than 1"),
        ("model: 'a/b'", "model: String should match"),
        ("strategy: blue_green", "model: Field required"),
        ("- a", "expected a mapping"),
        ("a: [", "while parsing"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(text)
    with pytest.raises(DeclarationError) as caught:
        read_plan(file, version="7")
    assert "release.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_a_version_is_a_number() -> None:
    with pytest.raises(ValueError, match="version"):
        ReleasePlan(model="wilting", version="latest")


def test_steps_may_be_bare_weights_and_every_field_has_a_description() -> None:
    plan = ReleasePlan(model="wilting", version="1", strategy="canary", steps=[20, {"weight": 100}])  # type: ignore[arg-type]
    assert [(s.weight, s.min_seconds, s.min_requests) for s in plan.steps] == [(20, 30, 20), (100, 30, 20)]
    assert [s.weight for s in ReleasePlan(model="wilting", version="1").steps] == [5, 10, 25, 50, 100]


def test_only_a_canary_is_preceded_by_a_shadow() -> None:
    known = {"model": "m", "version": "1", "shadow_first": True}
    assert parse_plan({**known, "strategy": "canary"}, "plan.yaml").shadow_first
    with pytest.raises(DeclarationError, match=r"plan\.yaml.*shadow_first: of a canary only, found strategy shadow"):
        parse_plan({**known, "strategy": "shadow"}, "plan.yaml")


def test_a_rolling_release_has_a_step_a_server() -> None:
    plan = ReleasePlan(model="wilting", version="1", strategy="rolling", replicas=3)
    assert [s.weight for s in plan.steps] == [33, 67, 100]


def test_gates_share_one_alpha() -> None:
    shares = ReleasePlan(model="wilting", version="1").gates.shares
    assert list(shares) == ["errors", "latency_p95", "refused"]
    assert shares["errors"] == 0.4
    assert sum(shares.values()) == pytest.approx(1)
