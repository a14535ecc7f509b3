"""A plan says what is wrong with it: file, field, expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan, read_plan


def test_a_declared_file_and_values_of_the_moment_make_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    file.write_text("model: wilting\nsmoke: {requests: 5, p95_ms: 100}\n")
    plan = read_plan(file, version="7", requested_by="me")
    assert (plan.model, plan.version, plan.smoke.requests, plan.strategy) == ("wilting", "7", 5, "blue_green")
    assert (plan.keep_previous, plan.ready_timeout_s, plan.smoke.max_error_rate) == (True, 120, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: wilting\nstrategy: canary", "strategy: Input should be 'blue_green'"),
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
