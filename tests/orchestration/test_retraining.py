"""Periods are reviewed once when they are over, decisions carried out by one run, alerts delivered until they are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.delivery.assets import DECISION_TAG
from assets.domains import current_domain
from assets.ingestion.assets import feed_key
from assets.ingestion.resources import LandingResource
from assets.monitoring.alerts import Alert, WebhookSink
from assets.monitoring.record import Record, Records
from assets.monitoring.watch import alert_of, alerts, tell
from assets.training.window import decided
from orchestration.retraining import alerts_sensor, due, overdue, retraining_sensor
from orchestration.sensors import failure_sensor, feeds_sensor
from serving.errors import ClearwayError
from serving.settings import Settings, get_settings

MODEL = "arrival_delay"
RECORD = Record(MODEL, "2013-06-01", 1, "2013-07-02T00:00:00+00:00", "1", "retrain", "it saves more than it costs",
                cut="2013-06-17T04:00:00+00:00", until="2013-07-01T04:00:00+00:00")  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def test_the_newest_period_is_due_when_it_is_over_long_enough() -> None:
    domain = current_domain()
    model = domain.models[MODEL]
    end = domain.bounds(date(2013, 6, 1))[1]
    wait = timedelta(days=model.retraining.wait_days)
    assert due(domain, model, end + wait) == date(2013, 6, 1)
    assert due(domain, model, end + wait - timedelta(seconds=1)) == date(2013, 5, 1)
    assert due(domain, model, datetime(2026, 1, 1, tzinfo=UTC)) == date(2013, 12, 1)
    assert due(domain, model, domain.bounds(date(2013, 1, 1))[0]) is None


def test_a_period_whose_files_do_not_come_is_reviewed_all_the_same() -> None:
    domain = current_domain()
    model = domain.models[MODEL]
    end = domain.bounds(date(2013, 6, 1))[1]
    late = max(s.due_days for s in domain.sources.values() if s.partitioned)
    last = end + timedelta(days=model.retraining.wait_days + late)
    assert not overdue(domain, model, date(2013, 6, 1), last - timedelta(seconds=1))
    assert overdue(domain, model, date(2013, 6, 1), last)


def test_an_alert_that_could_not_be_kept_is_kept_by_the_sensor(settings: Settings) -> None:
    Records(settings.reviews, MODEL).write(Record(**{**vars(RECORD), "action": "alert", "why": "no label has come"}))
    sensor = alerts_sensor(current_domain())
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    (kept,) = alerts(current_domain(), settings, lambda _: None).kept()
    assert kept.id == f"review-{RECORD.id}"
    assert "no label has come" in kept.text


def test_a_run_makes_the_version_of_the_decision_that_it_carries(settings: Settings) -> None:
    model = current_domain().models[MODEL]
    records = Records(settings.reviews, MODEL)
    records.write(RECORD)
    newer = Record(**{**vars(RECORD), "period": "2013-07-01", "cut": "2013-07-18T04:00:00+00:00"})
    records.write(newer)
    mine, newest = decided(model, settings, RECORD.id), decided(model, settings)
    assert mine is not None
    assert newest is not None
    assert (mine.decision, mine.period, mine.as_of.isoformat()) == (RECORD.id, date(2013, 6, 1), RECORD.at)
    assert newest.decision == newer.id
    assert records.retraining(before=date(2013, 7, 1)) == RECORD
    with pytest.raises(ClearwayError, match="no record of the review arrival_delay-2013-01-1"):
        decided(model, settings, "arrival_delay-2013-01-1")


def test_a_decision_asks_for_one_run_by_its_key(settings: Settings) -> None:
    sensor = retraining_sensor(current_domain(), dg.define_asset_job("train"))  # type: ignore[arg-type]
    with dg.DagsterInstance.ephemeral() as instance:

        def look() -> list[dg.RunRequest]:
            return list(sensor.evaluate_tick(dg.build_sensor_context(instance=instance)).run_requests or [])

        assert look() == []
        records = Records(settings.reviews, MODEL)
        records.write(Record(MODEL, "2013-05-01", 1, "2013-06-02T00:00:00+00:00", "1", "wait", "it does not pay"))
        assert look() == []
        records.write(RECORD)
        (request,), (again,) = look(), look()
        assert request.run_key == again.run_key == f"retrain:{RECORD.id}"
        assert request.tags[DECISION_TAG] == RECORD.id
        assert dg.AssetKey(["releases", MODEL]) in (request.asset_selection or [])


def test_a_retraining_that_fails_is_told_with_its_decision_once(settings: Settings) -> None:
    @dg.op
    def learns() -> None:
        raise ValueError("the labels of May are of one class")

    @dg.job
    def train() -> None:
        learns()

    with dg.DagsterInstance.ephemeral() as instance:
        done = train.execute_in_process(instance=instance, tags={DECISION_TAG: RECORD.id}, raise_on_error=False)
        run = instance.get_run_by_id(done.run_id)
        assert run is not None
        (event,) = done.filter_events(lambda e: e.event_type == dg.DagsterEventType.RUN_FAILURE)
        context = dg.build_run_status_sensor_context("failures", event, instance, run).for_run_failure()
        failure_sensor(context)
        failure_sensor(context)
    (alert,) = alerts(current_domain(), settings, lambda _: None).kept()
    assert alert.subject == f"the retraining that review {RECORD.id} asked for failed"
    assert "the labels of May are of one class" in alert.text
    assert "The champion goes on answering." in alert.text
    assert alert.numbers["decision"] == RECORD.id


def test_operations_that_tell_faster_than_runs_begin_do_not_fill_the_queue(settings: Settings) -> None:
    job = dg.define_asset_job("feeds", selection=[feed_key("flights")])
    sensor = feeds_sensor(current_domain(), job)  # type: ignore[arg-type]
    resources = {"landing": LandingResource(folder=str(settings.landing))}
    file = settings.landing / "feeds" / "flights" / "one.jsonl"
    with dg.DagsterInstance.ephemeral() as instance:

        def look() -> dg.SensorExecutionData:
            context = dg.build_sensor_context(instance=instance, resources=resources)
            return sensor.evaluate_tick(context)

        assert look().skip_message == "nothing was told since the last run"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        assert len(look().run_requests or []) == 1
        waiting = instance.create_run_for_job(waiting_job)
        assert waiting.job_name == "feeds"
        assert look().skip_message == "a run that will take it waits to start"
        instance.report_run_canceled(waiting)
        assert look().skip_message == "more is coming, and a run was made just now"
        os.utime(file, (time.time() - 3600,) * 2)  # operations are silent now
        going = instance.create_run_for_job(waiting_job, status=dg.DagsterRunStatus.STARTING)
        instance.report_dagster_event(
            dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name="feeds"), going.run_id
        )
        assert look().skip_message == "a run takes it"
        os.utime(file, (time.time() + 60,) * 2)
        assert look().skip_message == "more is coming, and a run was made just now"
        instance.report_run_canceled(going)
        os.utime(file, (time.time() - 3600,) * 2)
        # The same name again is another file: each run has a key of its own.
        cursor, keys = None, set()
        for _ in range(4):
            context = dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor)
            (request,) = sensor.evaluate_tick(context).run_requests or []
            keys.add(request.run_key)
            cursor = context.cursor
        assert len(keys) == 4


@dg.job(name="feeds")
def waiting_job() -> None: ...


class Down:
    """Alerts whose sink is down until it is up."""

    def __init__(self, folder: Path) -> None:
        self.kept = alerts(current_domain(), Settings(home=folder), lambda _: None)
        self.kept._sinks = (WebhookSink(kind="webhook", url_variable="NOT_SET"),)


def test_what_a_person_must_know_is_kept_and_a_sink_that_is_down_is_named(tmp_path: Path) -> None:
    down = Down(tmp_path)
    assert tell(RECORD, down.kept) == []
    needs: dict[str, Any] = {
        "name": "model",
        "evidence": 14.2,
        "threshold": 13.0,
        "raised_on": "2013-06-09",
        "days": 40,
    }
    raised = Record(**{**vars(RECORD), "alarms": [needs], "risk": {"log_loss": {"name": "log_loss", "measured": 0.5}}})
    (problem,) = tell(raised, down.kept)
    assert "has not reached webhook NOT_SET" in problem
    assert [a.id for a in down.kept.kept()] == [f"review-{RECORD.id}"]
    told = alert_of(raised)
    assert "raised an alarm" in told.subject
    assert "model: evidence 14 of 13, since 2013-06-09" in told.text
    assert told.numbers == {"log_loss_measured": 0.5}
    person = alert_of(Record(**{**vars(RECORD), "action": "alert", "why": "only 20% have a label"}))
    assert "needs a person" in person.subject
    assert "only 20% have a label" in person.text


def test_the_sensor_delivers_what_waits(settings: Settings) -> None:
    kept = alerts(current_domain(), settings, lambda _: None)
    kept.keep(Alert("a", "2013-06-01T00:00:00+00:00", "one", "why"))
    sensor = alerts_sensor(current_domain())
    with dg.DagsterInstance.ephemeral() as instance:
        first = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
        second = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert first.skip_message == "1 alerts delivered"
    assert second.skip_message == "0 alerts delivered"
