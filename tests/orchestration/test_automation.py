"""Who follows its upstream: each month that changed, old ones too, unless a blocking check speaks against it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.automation import follow_upstream
from tests.assets.ingestion.world import FEBRUARY, JANUARY, MARCH
from tests.orchestration.running import READINGS, Runs, runs

pytestmark = pytest.mark.integration
NOW = datetime(2020, 11, 15, tzinfo=UTC)
MONTHS = dg.MonthlyPartitionsDefinition("2020-01-01", end_date="2021-01-01", fmt="%Y-%m-%d")
FOLLOWER = dg.AssetKey("follower")


def following(upstream: dg.AssetKey, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(key=FOLLOWER, deps=[upstream], partitions_def=partitions, automation_condition=follow_upstream())
    def follower() -> None: ...

    return follower


class Daemon:
    """The conditions, evaluated again and again as the daemon does."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance = defs, instance
        self.cursor: Any = None
        assert self.tick() == set(), "nothing was updated yet"

    def tick(self) -> set[str]:
        """Evaluate; returns the months that the follower is requested for."""
        self._last = dg.evaluate_automation_conditions(
            self.defs, self.instance, evaluation_time=NOW, cursor=self.cursor
        )
        self.cursor = self._last.cursor
        return self.requested(FOLLOWER)

    def requested(self, key: dg.AssetKey) -> set[str]:
        """Months that the last tick requested of an asset."""
        return {month for month in self._last.get_requested_partitions(key) if month is not None}


def checked(passing: dict[str, bool]) -> dg.AssetsDefinition:
    """An upstream that is materialized whatever its blocking check says, as a trained version is by its gates."""

    @dg.asset(
        key="upstream",
        partitions_def=MONTHS,
        check_specs=[dg.AssetCheckSpec("gate", asset="upstream", blocking=True, partitions_def=MONTHS)],
    )
    def upstream(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        passed = passing[context.partition_key]
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=passed, check_name="gate")])

    return upstream


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def test_a_month_follows_when_its_blocking_check_passed_and_only_then(instance: dg.DagsterInstance) -> None:
    passing = {"2020-02-01": True, "2020-05-01": False, "2020-10-01": True}
    upstream = checked(passing)
    daemon = Daemon(dg.Definitions([upstream, following(upstream.key, MONTHS)]), instance)
    for month in ("2020-02-01", "2020-10-01"):  # an old one and the newest
        dg.materialize([upstream], instance=instance, partition_key=month)
    assert daemon.tick() == {"2020-02-01", "2020-10-01"}
    assert daemon.tick() == set(), "once"
    dg.materialize([upstream], instance=instance, partition_key="2020-05-01", raise_on_error=False)
    assert daemon.tick() == set(), "its blocking check failed"
    passing["2020-05-01"] = True
    dg.materialize([upstream], instance=instance, partition_key="2020-05-01")
    assert daemon.tick() == {"2020-05-01"}


def test_a_failed_month_does_not_hold_back_another(instance: dg.DagsterInstance) -> None:
    upstream = checked({"2020-02-01": True, "2020-05-01": False})
    daemon = Daemon(dg.Definitions([upstream, following(upstream.key, MONTHS)]), instance)
    dg.materialize([upstream], instance=instance, partition_key="2020-05-01", raise_on_error=False)
    assert daemon.tick() == set()
    dg.materialize([upstream], instance=instance, partition_key="2020-02-01")
    assert daemon.tick() == {"2020-02-01"}


def test_what_has_no_month_of_its_own_comes_with_the_first_of_what_has(instance: dg.DagsterInstance) -> None:
    """A table of names is built for every month; months before the daemon came were built by hand."""
    monthly, also, names = dg.AssetKey("monthly"), dg.AssetKey("other"), dg.AssetKey("names")

    @dg.asset(key=monthly, partitions_def=MONTHS)
    def month() -> None: ...

    @dg.asset(key=also, partitions_def=MONTHS)
    def other() -> None: ...

    @dg.asset(key="listed")
    def listed() -> None: ...

    @dg.asset(key=names, deps=[listed], partitions_def=MONTHS, automation_condition=follow_upstream([monthly, also]))
    def named() -> None: ...

    @dg.asset(key=FOLLOWER, deps=[monthly, names], partitions_def=MONTHS, automation_condition=follow_upstream())
    def joined() -> None: ...

    made = [month, other, listed, named, joined]
    dg.materialize([listed], instance=instance)
    for asset in (month, other, named, joined):
        dg.materialize([asset], instance=instance, partition_key="2020-01-01")
    daemon = Daemon(dg.Definitions(made), instance)
    dg.materialize([other], instance=instance, partition_key="2020-02-01")
    assert daemon.tick() == daemon.requested(names) == set(), "what is built of both would find only one"
    dg.materialize([month], instance=instance, partition_key="2020-02-01")
    assert daemon.tick() == {"2020-02-01"}
    assert daemon.requested(names) == {"2020-02-01"}
    for asset in (named, joined):
        dg.materialize([asset], instance=instance, partition_key="2020-02-01")
    daemon.tick()  # Dagster takes an update in the tick after a request for part of that request
    dg.materialize([month], instance=instance, partition_key="2020-02-01")
    assert daemon.tick() == {"2020-02-01"}
    assert daemon.requested(names) == set(), "it has the month, and what it reads is as before"


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Runs]:
    with runs(tmp_path) as made:
        yield made


def test_what_follows_a_source_follows_published_months_and_not_rejected_ones(ran: Runs) -> None:
    """The real ingestion asset as upstream: one run over a range of which one month is rejected."""
    readings = next(a for a in ran.defs.assets or [] if isinstance(a, dg.AssetsDefinition) and READINGS in a.keys)
    partitions = readings.partitions_def
    assert partitions is not None
    defs = dg.Definitions.merge(ran.defs, dg.Definitions([following(READINGS, partitions)]))
    daemon = Daemon(defs, ran.instance)
    ran.drop(JANUARY)
    ran.drop(FEBRUARY, bad=True)
    ran.drop(MARCH)
    assert not ran.ingest(JANUARY, MARCH).success
    assert daemon.tick() == {"2020-01-01", "2020-03-01"}
    ran.drop(FEBRUARY, name="corrected.csv")
    assert ran.ingest(FEBRUARY).success
    assert daemon.tick() == {"2020-02-01"}
    assert daemon.tick() == set()  # Dagster takes an update in the tick after a request for part of that request
    for month in (JANUARY, FEBRUARY, MARCH):
        ran.drop(month, name="once_more.csv", shift=1)
    assert ran.ingest(JANUARY, MARCH).success
    assert daemon.tick() == {"2020-01-01", "2020-02-01", "2020-03-01"}
    # A corrected drop of a published month is rejected: readers and followers stay with what is published.
    ran.drop(JANUARY, bad=True, name="too_bad.csv")
    assert not ran.ingest(JANUARY).success
    assert daemon.tick() == set()
