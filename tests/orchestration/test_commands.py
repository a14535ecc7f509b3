"""A range from the command line, a backfill by the daemon, and a profile's own instance."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.domains import load_domain
from assets.ingestion.lakehouse import Lakehouse
from serving.settings import PROJECT, Settings
from tests.faults.library import APRIL, FEBRUARY, JANUARY, MARCH
from tests.running import SECOND_DOMAIN, Place

pytestmark = pytest.mark.integration
LOANS, FACTS = dg.AssetKey(["raw", "loans"]), dg.AssetKey(["fct_loans"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home of the second domain with all its drops, and the branches published."""
    place = Place(tmp_path_factory.mktemp("home"), SECOND_DOMAIN)
    place.environment()
    shutil.copyfile(PROJECT / "orchestration" / "deploy" / "dagster.yaml", place.home / "dagster" / "dagster.yaml")
    load_domain(SECOND_DOMAIN).sample().land(place.home / "landing")
    done = place.materialize("raw/branches")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return place


@pytest.fixture
def instance(place: Place) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(place.home / "dagster")) as made:
        yield made


def published(place: Place) -> set[object]:
    settings = Settings(home=place.home, domain=SECOND_DOMAIN)
    return set(Lakehouse(settings.catalog, settings.lakehouse).ledger("raw.loans"))


def test_a_range_from_the_command_line_is_one_run(place: Place, instance: dg.DagsterInstance) -> None:
    before = {run.run_id for run in instance.get_runs()}
    done = place.materialize("raw/loans,fct_loans", "--partition-range", "2021-01-01...2021-02-01")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert published(place) == {JANUARY, FEBRUARY}
    for key in (LOANS, FACTS):
        assert set(instance.get_materialized_partitions(key)) == {"2021-01-01", "2021-02-01"}, key
    (run,) = [run for run in instance.get_runs() if run.run_id not in before]
    assert run.tags["dagster/asset_partition_range_start"] == "2021-01-01"
    event = instance.get_latest_materialization_event(FACTS)
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    assert materialization.metadata["dagster/partition_row_count"].value == 1500


def test_a_failed_dbt_test_is_shown_and_nothing_is_published(place: Place, instance: dg.DagsterInstance) -> None:
    """March has a loan of January's name: each month is good by its contract, together they are not."""
    file = next((place.home / "landing" / "loans" / "2021-03-01").iterdir())
    content = file.read_text()
    before = Settings(home=place.home).warehouse_file.read_bytes()
    file.write_text(content.replace("202103-00000", "202101-00000"))
    done = place.materialize("raw/loans,fct_loans", "--partition", "2021-03-01")
    file.write_text(content)
    assert done.returncode != 0
    assert "unique_fct_loans_loan" in done.stdout + done.stderr
    assert Settings(home=place.home).warehouse_file.read_bytes() == before
    assert "2021-03-01" not in instance.get_materialized_partitions(FACTS)
    check = dg.AssetCheckKey(FACTS, "unique_fct_loans_loan")
    (newest,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
    assert newest.status.value == "FAILED"


@pytest.fixture
def daemon(place: Place) -> Iterator[None]:
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "orchestration.definitions"]
    with (place.home / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=place.environment(), stdout=log, stderr=log, start_new_session=True
        )
        yield
        os.killpg(process.pid, signal.SIGINT)  # its own session: the code server and the runs go with it
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_backfill_of_a_range_is_carried_out_by_the_daemon(
    place: Place, instance: dg.DagsterInstance, daemon: None
) -> None:
    """What the daemon also starts by itself, for the same drops, changes nothing."""
    where = ("-m", "orchestration.definitions", "-j", "ingest")
    done = place.dagster(
        "job", "backfill", *where, "--from", "2021-03-01", "--to", "2021-04-01", "--noprompt", timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    wanted = {"2021-03-01", "2021-04-01"}
    deadline = time.monotonic() + 300
    finished: set[str] = set()
    while finished != wanted and time.monotonic() < deadline:
        time.sleep(1)
        runs = instance.get_runs(dg.RunsFilter(job_name="ingest", statuses=[dg.DagsterRunStatus.SUCCESS]))
        backfilled = [run.tags for run in runs if "dagster/backfill" in run.tags]
        finished = {tags["dagster/partition"] for tags in backfilled if "dagster/partition" in tags}
        for tags in backfilled:
            if "dagster/asset_partition_range_start" in tags:
                finished |= wanted
    assert finished == wanted, (place.home / "daemon.log").read_text()[-3000:]
    assert {MARCH, APRIL} <= published(place)
    assert wanted <= set(instance.get_materialized_partitions(LOANS))
