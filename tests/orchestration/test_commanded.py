"""A command that was killed leaves a run that holds its pools; the next command of its kind takes up after it."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from orchestration.commanded import TAG, alone, bury
from serving.errors import ClearwayError


@dg.op(pool="stove")
def cook() -> int:
    return 1


@dg.job
def dinner() -> None:
    cook()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return dg.DagsterInstance.local_temp(str(tmp_path))


def left_by(instance: dg.DagsterInstance, command: str) -> str:
    """A run as a killed process leaves it: started, with a place in the pool."""
    run = instance.create_run_for_job(dinner, tags={TAG: command}, status=dg.DagsterRunStatus.STARTED)
    instance.event_log_storage.set_concurrency_slots("stove", 1)
    assert instance.event_log_storage.claim_concurrency_slot("stove", run.run_id, "cook").is_claimed
    return run.run_id


def test_what_a_dead_command_held_is_given_back(instance: dg.DagsterInstance) -> None:
    dead = left_by(instance, "dinner")
    assert bury(instance, "lunch") == []
    assert bury(instance, "dinner") == [dead]
    assert instance.event_log_storage.claim_concurrency_slot("stove", "next", "cook").is_claimed
    run = instance.get_run_by_id(dead)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert bury(instance, "dinner") == []


def test_a_command_that_runs_is_not_taken_for_dead(instance: dg.DagsterInstance) -> None:
    with alone("dinner"):
        assert os.path.exists(Path(os.environ["DAGSTER_HOME"]) / ".dinner.lock")
        with pytest.raises(ClearwayError, match="another command"), alone("dinner"):
            pass
        with alone("lunch"):
            pass
    with alone("dinner"):
        pass
