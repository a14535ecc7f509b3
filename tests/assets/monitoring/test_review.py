"""What a review makes of what is missing: labels, traffic, a version; and of what comes twice."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from assets.features.resources import FeaturesResource
from assets.monitoring.record import Record, Records
from assets.monitoring.review import Stores, judged_rows, review
from assets.monitoring.spec import RiskAlarm, Slice
from assets.training.spec import Retraining
from serving.errors import ClearwayError, DeclarationError
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


def test_labels_that_are_not_known_yet_are_not_there(home: Home) -> None:  # noqa: F811
    home.release("1")
    stores, model = stores_of(home), home.domain.models[MODEL]
    rows = judged_rows(stores, model, "1", LATER)
    assert rows["label"].notna().sum() == 100
    early = judged_rows(stores, model, "1", datetime(2013, 2, 1, 15, tzinfo=UTC))
    assert len(early) == 101
    assert 0 < early["label"].notna().sum() < 100


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
