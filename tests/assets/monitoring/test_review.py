"""What a review makes of what is missing: labels, traffic, a version; and of what comes twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from assets.features.resources import FeaturesResource
from assets.monitoring.record import Record, Records
from assets.monitoring.review import Stores, judged_rows, review
from assets.monitoring.served import prediction_mart
from assets.monitoring.spec import RiskAlarm, Slice
from assets.monitoring.watch import alert_of
from assets.training.spec import Retraining
from assets.training.tabular.version import stable_version
from serving.errors import ClearwayError, DeclarationError
from serving.models.registry import RegistryError
from serving.runtime.program import free_port
from tests.assets.monitoring.test_reports import MODEL, Home, home  # noqa: F401
from tests.dbt_project.fixtures import warehouse  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.faults]
FEBRUARY, MARCH = date(2013, 2, 1), date(2013, 3, 1)
LATER = datetime(2013, 5, 1, tzinfo=UTC)


def stores_of(home: Home) -> Stores:  # noqa: F811
    features = FeaturesResource(folder=str(home.settings.features))
    return Stores(home.domain, home.manifest, home.warehouse, features, home.settings)


def decide(home: Home, period: date = FEBRUARY, now: datetime = LATER, **how: bool) -> Record:  # noqa: F811
    return review(stores_of(home), home.domain.models[MODEL], period, now, lambda _: None, **how)[0]


def test_a_version_that_the_registry_has_no_more_is_for_a_person(home: Home) -> None:  # noqa: F811
    home.release("1")
    record = decide(home)
    assert record.action == "alert"
    assert record.why.startswith("version 1 could not be tested against newer data:")
    assert record.champion == "1"
    # r-0 was answered twice and counts once; r-200 is of a flight that nobody scheduled.
    assert record.numbers["coverage"] == pytest.approx(100 / 101)
    assert record.numbers["labelled"] == 100
    assert record.risk["log_loss"]["measured"] is not None
    assert record.others["never"] == "wait"
    assert {alarm["name"] for alarm in record.alarms} == {"model", "origin=EWR", "origin=JFK", "origin=LGA"}


def test_a_registry_that_does_not_answer_leaves_no_record(
    home: Home,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.release("1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    silent = home.settings.model_copy(update={"mlflow_tracking_uri": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(RegistryError, match="try again when the registry answers"):
        review(replace(stores_of(home), settings=silent), home.domain.models[MODEL], FEBRUARY, LATER, lambda _: None)
    assert Records(home.settings.reviews, MODEL).all() == [], "it is reviewed when the registry is back"
    assert decide(home).revision == 1


def test_labels_that_are_not_known_yet_are_not_there(home: Home) -> None:  # noqa: F811
    home.release("1")
    stores, model = stores_of(home), home.domain.models[MODEL]
    rows = judged_rows(stores, model, "1", LATER)
    assert rows["label"].notna().sum() == 100
    early = judged_rows(stores, model, "1", datetime(2013, 2, 1, 15, tzinfo=UTC))
    assert len(early) == 101
    assert 0 < early["label"].notna().sum() < 100


def test_after_two_months_without_labels_a_person_is_asked_and_the_champion_stays(home: Home, tmp_path: Path) -> None:  # noqa: F811
    home.release("1")
    file = tmp_path / "silent.duckdb"
    shutil.copy(home.warehouse, file)
    with duckdb.connect(str(file)) as connection:
        mart = prediction_mart(home.manifest, home.domain.models[MODEL])
        assert mart is not None
        # Every second answer is of March, and of no flight anybody ever said how it arrived.
        connection.execute(
            f"update {mart.schema}.{mart.name} set is_late = null, label_known_at = null, prediction_date ="
            " prediction_date + case when hash(request_id) % 2 = 0 then interval 28 day else interval 0 day end"
        )
    stores = replace(stores_of(home), warehouse_file=file)
    for period in (FEBRUARY, MARCH):
        record, new = review(stores, home.domain.models[MODEL], period, LATER, lambda _: None)
        assert new
        assert (record.action, record.champion, record.cut) == ("alert", "1", None)
        assert "only 0% of the predictions have a label, 50% are expected" in record.why
        assert record.numbers["coverage"] == 0
        loss = record.risk["log_loss"]
        assert loss["estimated"] > 0, "it is estimated all the same"
        assert (loss["measured"], loss["error"]) == (None, None)
        assert all(alarm["raised_on"] is None for alarm in record.alarms), "silence is no evidence"
        assert "needs a person" in alert_of(record).subject
    assert Records(home.settings.reviews, MODEL).retraining() is None
    assert stable_version(MODEL, home.settings) == "1"


def test_a_month_without_traffic_waits_and_one_that_is_not_over_is_not_reviewed(home: Home) -> None:  # noqa: F811
    home.release("1")
    record = decide(home, MARCH)
    assert (record.action, record.why) == ("wait", "version 1 was asked for nothing in 2013-03")
    with pytest.raises(ClearwayError, match="2013-03 is not over"):
        decide(home, MARCH, datetime(2013, 3, 31, tzinfo=UTC), again=True)
    assert len(Records(home.settings.reviews, MODEL).all()) == 1


def test_without_a_version_it_waits_unless_a_first_one_is_asked_for(home: Home) -> None:  # noqa: F811
    assert decide(home).action == "wait"
    assert decide(home).revision == 1, "decided before"
    first = decide(home, again=True, first=True)
    assert (first.action, first.revision, first.champion) == ("retrain", 2, None)
    assert first.cut == "2013-02-15T05:00:00+00:00"
    assert Records(home.settings.reviews, MODEL).retraining() == first


def test_a_slice_that_the_mart_cannot_tell_is_named_with_its_file(home: Home) -> None:  # noqa: F811
    home.release("1")
    alarm = RiskAlarm(slices=(Slice(column="colour", value="red"),))
    model = home.domain.models[MODEL].model_copy(update={"retraining": Retraining(alarm=alarm)})
    with pytest.raises(DeclarationError, match=r"arrival_delay\.yaml: retraining\.alarm\.slices.*no column colour"):
        review(stores_of(home), model, FEBRUARY, LATER, lambda _: None)
    assert Records(home.settings.reviews, MODEL).all() == []
