"""A release is submitted once for its version and run, and not at all when users have the version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.delivery.release import release
from assets.training.tabular.register import client
from serving.errors import ClearwayError
from serving.rollout.read import list_rollouts, read_state
from serving.rollout.submit import waiting
from serving.runtime.laptop import start_serving, stop_all
from serving.settings import Settings
from tests.serving.models import toy

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = toy.home(tmp_path_factory.mktemp("home"))
    start_serving(settings)
    yield settings
    stop_all(settings)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "plan.yaml"
    file.write_text(f"model: {toy.MODEL}\nstrategy: blue_green\nsmoke: {{requests: 3, p95_ms: 5000}}\n")
    return file


def challenge(settings: Settings, version: str) -> None:
    client(settings).set_registered_model_alias(toy.MODEL, "challenger", version)


def go(settings: Settings, plan: Path, run: str) -> tuple[str, str, str]:
    outcome = release(toy.MODEL, plan, settings, run, lambda line: None)
    return outcome.status, outcome.version, outcome.phase


def test_without_a_challenger_it_says_what_to_do(settings: Settings, plan: Path) -> None:
    with pytest.raises(ClearwayError, match="no version with the alias challenger") as caught:
        go(settings, plan, "run-zero")
    assert caught.value.untouched == "the stable version and all weights."
    assert f"materialize models/{toy.MODEL}" in (caught.value.todo or "")
    assert list_rollouts(toy.MODEL, settings) == []
    assert waiting(settings) == []


def test_twice_has_one_effect(settings: Settings, plan: Path) -> None:
    challenge(settings, "1")
    assert go(settings, plan, "run-one-") == ("released", "1", "completed")
    entries = len(read_state(toy.MODEL, settings).rollouts[f"{toy.MODEL}-v1-run-one-"].entries)
    assert go(settings, plan, "run-one-") == ("unchanged", "1", "completed")
    assert go(settings, plan, "run-two-") == ("unchanged", "1", "completed")
    (only,) = list_rollouts(toy.MODEL, settings)
    assert len(only.entries) == entries
    assert waiting(settings) == []


def test_a_newer_challenger_is_released_and_the_record_names_both(settings: Settings, plan: Path) -> None:
    challenge(settings, "2")
    outcome = release(toy.MODEL, plan, settings, "run-three", lambda line: None)
    assert (outcome.status, outcome.version, outcome.phase) == ("released", "2", "completed")
    assert outcome.record
    assert outcome.timeline[0]["entry"] == "submitted"
    assert outcome.timeline[-1]["entry"] == "completed"
    assert outcome.plan["requested_by"] == "dagster run run-three"
    state = read_state(toy.MODEL, settings)
    assert state.stable is not None
    assert state.arms[state.stable].version == "2"
