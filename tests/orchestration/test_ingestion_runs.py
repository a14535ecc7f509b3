"""Ingestion as runs: a bad month costs itself only, and what failed is said to people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration import sensors
from serving.settings import Settings
from tests.assets.ingestion.world import FEBRUARY, JANUARY, MARCH
from tests.orchestration.running import READINGS, Runs, runs

pytestmark = pytest.mark.integration


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Runs]:
    with runs(tmp_path) as made:
        yield made


def test_a_range_is_one_run_and_its_checks_speak_of_each_month(ran: Runs) -> None:
    for month in (JANUARY, FEBRUARY, MARCH):
        ran.drop(month)
    result = ran.ingest(JANUARY, MARCH)
    assert result.success
    months = {"2020-01-01", "2020-02-01", "2020-03-01"}
    assert ran.materialized() == months
    for check in ("contract", "reconciled"):
        found = ran.evaluations(result.run_id, check)
        assert {p: ok for p, ok in found.items() if p} == dict.fromkeys(months, True), check


def test_a_rejected_month_of_a_range_leaves_the_good_ones_published_and_recorded(ran: Runs) -> None:
    ran.drop(JANUARY)
    ran.drop(FEBRUARY, bad=True)
    ran.drop(MARCH)
    result = ran.ingest(JANUARY, MARCH)
    assert not result.success
    assert set(ran.world.lakehouse.ledger("raw.readings")) == {JANUARY, MARCH}
    assert ran.materialized() == {"2020-01-01", "2020-03-01"}
    found = ran.evaluations(result.run_id, "contract")
    assert {p: ok for p, ok in found.items() if p} == {"2020-01-01": True, "2020-02-01": False, "2020-03-01": True}
    (failure,) = result.filter_events(lambda e: e.is_step_failure)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert data.metadata["rejected_partitions"].value == "2020-02-01"
    assert "40.0%" in (data.description or "")
    # Mended, the range is run again, and finds the good months done.
    ran.drop(FEBRUARY, name="corrected.csv")
    before = ran.world.lakehouse.ledger("raw.readings")
    assert ran.ingest(JANUARY, MARCH).success
    after = ran.world.lakehouse.ledger("raw.readings")
    assert {m: after[m] for m in before} == before
    assert ran.materialized() == {"2020-01-01", "2020-02-01", "2020-03-01"}


def test_a_month_without_a_drop_ends_the_run_but_not_the_record_of_the_others(ran: Runs) -> None:
    ran.drop(JANUARY)
    result = ran.ingest(JANUARY, FEBRUARY)
    assert not result.success
    assert ran.materialized() == {"2020-01-01"}
    assert set(ran.world.lakehouse.ledger("raw.readings")) == {JANUARY}


def test_a_failed_run_says_asset_partition_what_is_untouched_and_what_to_do(
    ran: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "get_settings", lambda: Settings(home=tmp_path / "home"))
    ran.drop(FEBRUARY, bad=True)
    result = ran.ingest(FEBRUARY)
    assert not result.success
    run = ran.instance.get_run_by_id(result.run_id)
    assert run is not None
    (event,) = result.filter_events(lambda e: e.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name="failures", dagster_event=event, dagster_instance=ran.instance, dagster_run=run
    ).for_run_failure()
    sensors.failure_sensor(context)
    (line,) = (tmp_path / "home" / "alerts" / "alerts.jsonl").read_text().splitlines()
    alert = json.loads(line)
    assert alert["subject"] == "job ingest failed for 2020-02-01"
    numbers = alert["numbers"]
    assert (numbers["run"], numbers["job"], numbers["partition"]) == (result.run_id, "ingest", "2020-02-01")
    (failed,) = numbers["failed"]
    assert failed["asset"] == READINGS.to_python_identifier()
    assert "8 of 20 rows (40.0%) would be quarantined" in failed["why"]
    assert "What to do: drop a corrected file" in failed["why"]
    assert "8 of 20 rows (40.0%) would be quarantined" in alert["text"]
    assert "What readers see is untouched" in alert["text"]
    assert "run the same partitions again" in alert["text"]
    sensors.failure_sensor(context)
    assert len((tmp_path / "home" / "alerts" / "alerts.jsonl").read_text().splitlines()) == 1, "told once"


def test_a_failed_range_is_named_from_first_to_last(ran: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "get_settings", lambda: Settings(home=tmp_path / "home"))
    ran.drop(JANUARY, bad=True)
    ran.drop(FEBRUARY)
    result = ran.ingest(JANUARY, FEBRUARY)
    run = ran.instance.get_run_by_id(result.run_id)
    assert run is not None
    (event,) = result.filter_events(lambda e: e.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context("failures", event, ran.instance, run).for_run_failure()
    sensors.failure_sensor(context)
    alert = json.loads((tmp_path / "home" / "alerts" / "alerts.jsonl").read_text())
    assert alert["numbers"]["partition"] == "2020-01-01…2020-02-01"
