"""Rollouts in Dagster: shown once whenever they moved; a command goes into the log's folder, or says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.rollouts import rollout_command, rollouts_job, rollouts_sensor
from serving.rollout import commands
from serving.rollout.log import RolloutLog
from serving.rollout.plan import ReleasePlan
from serving.settings import Settings, get_settings

MODEL = "arrival_delay"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def submitted(settings: Settings) -> None:
    plan = ReleasePlan(model=MODEL, version="1").model_dump(mode="json")
    RolloutLog(MODEL, settings).append("submitted", "r1", plan=plan, submitted_at="now")


def test_a_rollout_is_shown_once_for_each_move(settings: Settings) -> None:
    from assets.domains import current_domain

    sensor = rollouts_sensor(current_domain(), rollouts_job(current_domain()))  # type: ignore[arg-type]
    with dg.DagsterInstance.ephemeral() as instance:

        def look(cursor: str | None) -> tuple[list[dg.RunRequest], str | None]:
            data = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))
            return list(data.run_requests or []), data.cursor

        requests, cursor = look(None)
        assert requests == []
        submitted(settings)
        (request,), cursor = look(cursor)
        assert request.asset_selection == [dg.AssetKey(["rollouts", MODEL])]
        assert look(cursor)[0] == []
        RolloutLog(MODEL, settings).append("starting", "r1", arm=f"{MODEL}-v1", port=1)
        (again,), _ = look(cursor)
        assert again.run_key != request.run_key


def run(action: str, reason: str = "a reason") -> dg.ExecuteInProcessResult:
    config = {"ops": {"tell_rollout": {"config": {"model": MODEL, "action": action, "reason": reason}}}}
    return rollout_command.execute_in_process(run_config=config, raise_on_error=False)


def test_a_command_waits_for_the_controller_with_its_reason_and_its_run(settings: Settings) -> None:
    submitted(settings)
    done = run("pause", "lunch")
    assert done.success
    (command,) = commands.waiting(settings)
    assert (command.action, command.rollout, command.reason) == ("pause", "r1", "lunch")
    assert command.by == f"dagster run {done.run_id}"


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("pause", "no rollout of model arrival_delay is under way"),
        ("roll_back", "no version before"),
        ("jump", "expected"),
    ],
)
def test_what_cannot_be_done_fails_with_what_to_do(settings: Settings, action: str, told: str) -> None:
    done = run(action)
    assert not done.success
    (failed,) = done.filter_events(lambda e: e.is_step_failure)
    assert told in str(failed.step_failure_data.user_failure_data.description)
    assert commands.waiting(settings) == []
