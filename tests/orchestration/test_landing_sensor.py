"""Exactly one run for each source, period and content; who reads another source waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from assets.ingestion.assets import definitions
from assets.ingestion.landing import all_drops, current_drop
from assets.ingestion.reading import content_id
from assets.ingestion.resources import LakehouseResource, LandingResource
from assets.ingestion.spec import Source
from orchestration.sensors import landing_sensor, plan_runs
from tests.assets.ingestion.world import FEBRUARY, JANUARY, READINGS, World


@pytest.fixture
def empty(tmp_path: Path) -> World:
    return World(tmp_path)


def publish(world: World, source: str, period: date | None) -> None:
    """As ingestion leaves the ledger after it published the current drop."""
    drop = content_id(current_drop(world.landing, source, period).path)
    rows = pa.table({"value": [1]})
    world.lakehouse.publish(f"raw.{source}", rows, period, drop, {"drop": drop}, lambda stored: None)


def plan(world: World, requested: dict[str, str] | None = None) -> tuple[dict[str | None, list[str]], list[str]]:
    groups, waiting = plan_runs(world.domain, world.lakehouse, all_drops(world.landing), requested or {})
    return {period: [d.source for d in drops] for period, drops in groups.items()}, waiting


def test_a_source_waits_for_the_one_that_its_contract_reads(empty: World) -> None:
    empty.drop(b"readings", JANUARY)
    assert plan(empty) == ({}, ["readings/2020-01-01 waits for sites"])
    empty.drop(b"sites", None, "sites.csv", "sites")
    assert plan(empty) == ({None: ["sites"]}, ["readings/2020-01-01 waits for sites"])
    publish(empty, "sites", None)
    assert plan(empty) == ({"2020-01-01": ["readings"]}, [])


def test_sources_of_one_period_run_together(empty: World) -> None:
    summary = {**READINGS, "name": "summaries", "rules": [_reads("readings")]}
    empty.domain.sources["summaries"] = Source.model_validate(summary)
    empty.drop(b"sites", None, "sites.csv", "sites")
    publish(empty, "sites", None)
    empty.drop(b"readings", JANUARY)
    empty.drop(b"summaries", JANUARY, "summaries.csv", "summaries")
    empty.drop(b"summaries", FEBRUARY, "summaries.csv", "summaries")
    groups, waiting = plan(empty)
    assert groups == {"2020-01-01": ["readings", "summaries"]}
    assert waiting == ["summaries/2020-02-01 waits for readings"]


def test_who_waits_for_a_source_that_itself_waits_is_not_started(empty: World) -> None:
    empty.domain.sources["summaries"] = Source.model_validate(
        {**READINGS, "name": "summaries", "rules": [_reads("readings")]}
    )
    empty.drop(b"readings", JANUARY)  # waits for sites
    empty.drop(b"summaries", JANUARY, "summaries.csv", "summaries")
    groups, waiting = plan(empty)
    assert groups == {}
    assert waiting == ["readings/2020-01-01 waits for sites", "summaries/2020-01-01 waits for readings"]


def _reads(other: str) -> dict[str, object]:
    return {
        "name": "known",
        "description": "-",
        "action": "note",
        "columns": ["site"],
        "references": {"source": other, "columns": ["site"]},
    }


def test_what_nobody_declared_is_left_with_a_reason(empty: World) -> None:
    empty.drop(b"x", JANUARY, "x.csv", "unheard_of")
    empty.drop(b"x", date(2031, 1, 1))
    empty.drop(b"x", None)  # a partitioned source without a period
    empty.drop(b"x", JANUARY, "sites.csv", "sites")  # a period for a source without partitions
    groups, waiting = plan(empty)
    assert groups == {}
    assert len(waiting) == 4
    assert any("no source unheard_of is declared" in w for w in waiting)
    assert sum("not a period of the domain" in w for w in waiting) == 3


class Sensor:
    """The sensor, its cursor kept between ticks, and the instance that would start its runs."""

    def __init__(self, world: World, instance: dg.DagsterInstance) -> None:
        self.world, self.instance, self.cursor = world, instance, None
        self.lakehouse = LakehouseResource(catalog_uri=world.lakehouse.catalog_uri, location=world.lakehouse.location)
        job = dg.define_asset_job("ingest", selection=dg.AssetSelection.groups("ingestion"))
        self.sensor = landing_sensor(world.domain, job)
        self.defs = dg.Definitions.merge(
            definitions(world.domain),
            dg.Definitions(
                jobs=[job], sensors=[self.sensor], resources={"lakehouse": self.lakehouse, "landing": self.landing}
            ),
        )

    @property
    def landing(self) -> LandingResource:
        return LandingResource(folder=str(self.world.landing))

    def tick(self) -> tuple[list[dg.RunRequest], str | None]:
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            definitions=self.defs,
            resources={"lakehouse": self.lakehouse, "landing": self.landing},
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests or []), data.skip_message


@pytest.fixture
def sensor(empty: World) -> Iterator[Sensor]:
    folder = empty.folder / "instance"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield Sensor(empty, instance)


def test_one_run_a_content(sensor: Sensor) -> None:
    world = sensor.world
    world.drop(b"sites", None, "sites.csv", "sites")
    requests, _ = sensor.tick()
    assert [(r.partition_key, [k.to_user_string() for k in r.asset_selection or []]) for r in requests] == [
        (None, ["raw/sites"])
    ]
    assert sensor.tick() == ([], "every drop is published or was requested"), "not twice while the run is under way"
    publish(world, "sites", None)
    world.drop(b"one", JANUARY)
    world.drop(b"one", FEBRUARY)
    requests, _ = sensor.tick()
    assert [r.partition_key for r in requests] == ["2020-01-01", "2020-02-01"]
    assert requests[0].run_key != requests[1].run_key
    assert requests[0].tags["clearway/drops"] == "readings"
    publish(world, "readings", JANUARY)
    publish(world, "readings", FEBRUARY)
    world.drop(b"one", JANUARY, "the_same_again.csv")
    assert sensor.tick()[0] == [], "the same content under another name is the same drop"
    world.drop(b"two", JANUARY, "corrected.csv")
    (request,), _ = sensor.tick()
    assert request.partition_key == "2020-01-01"


def test_a_rejected_drop_is_not_tried_again_until_its_content_changes(sensor: Sensor) -> None:
    world = sensor.world
    world.drop(b"sites", None, "sites.csv", "sites")
    publish(world, "sites", None)
    world.drop(b"bad", JANUARY)
    assert len(sensor.tick()[0]) == 1
    assert sensor.tick()[0] == []  # its run failed: nothing was published
    world.drop(b"good", JANUARY, "corrected.csv")
    assert len(sensor.tick()[0]) == 1


def test_a_drop_that_goes_back_to_what_was_published_before_is_run(sensor: Sensor) -> None:
    """Dagster starts no second run of one key, so the key must tell the two apart."""
    world = sensor.world
    world.drop(b"sites", None, "sites.csv", "sites")
    publish(world, "sites", None)
    keys = []
    for number, content in enumerate((b"one", b"two", b"one", b"two")):
        world.drop(content, JANUARY, f"{number}.csv")
        (request,), _ = sensor.tick()
        keys.append(request.run_key)
        publish(world, "readings", JANUARY)
    assert len(set(keys)) == 4


def test_runs_can_be_made_of_the_requests(sensor: Sensor) -> None:
    """The job takes the partition and the selection that the sensor asks for."""
    world = sensor.world
    world.drop(b"sites", None, "sites.csv", "sites")
    publish(world, "sites", None)
    world.drop(b"one", JANUARY)
    (request,), _ = sensor.tick()
    job = sensor.defs.resolve_job_def("ingest")
    partitions = job.partitions_def
    assert partitions is not None
    assert request.partition_key in partitions.get_partition_keys()
    assert set(request.asset_selection or []) <= set(job.asset_layer.executable_asset_keys)
