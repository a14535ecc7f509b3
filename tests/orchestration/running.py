"""Runs of the ingestion assets of a small domain, in process, recorded by an instance of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg

from assets.ingestion.assets import definitions
from assets.ingestion.resources import LakehouseResource, LandingResource
from assets.partitions import periods
from tests.assets.ingestion.world import World, csv, good_rows

READINGS = dg.AssetKey(["raw", "readings"])


class Runs:
    """A world, its job ``ingest`` and the instance that records it."""

    def __init__(self, world: World, instance: dg.DagsterInstance) -> None:
        self.world, self.instance = world, instance
        selection = dg.AssetSelection.assets(READINGS)
        job = dg.define_asset_job("ingest", selection=selection, partitions_def=periods(world.domain))
        resources = {
            "lakehouse": LakehouseResource(catalog_uri=world.lakehouse.catalog_uri, location=world.lakehouse.location),
            "landing": LandingResource(folder=str(world.landing)),
        }
        self.defs = dg.Definitions.merge(definitions(world.domain), dg.Definitions(jobs=[job], resources=resources))

    def ingest(self, first: date, last: date | None = None) -> dg.ExecuteInProcessResult:
        """One run over the months ``first`` to ``last``."""
        job = self.defs.resolve_job_def("ingest")
        if last is None:
            return job.execute_in_process(instance=self.instance, partition_key=first.isoformat(), raise_on_error=False)
        tags = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        }
        return job.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def drop(self, period: date, *, bad: bool = False, name: str = "readings.csv", shift: int = 0) -> None:
        """A good month, its counts shifted, or one of which 40% may not be published."""
        rows = good_rows(period)
        for row in rows:
            row[3] = str(int(row[3]) + shift)
        for row in rows[: 8 if bad else 0]:
            row[3] = "-5"
        self.world.drop(csv(rows), period, name)

    def materialized(self) -> set[str]:
        return set(self.instance.get_materialized_partitions(READINGS))

    def evaluations(self, run_id: str, check: str) -> dict[str | None, bool]:
        """Each evaluation of a check in a run, by its partition (None: over the run)."""
        logs = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = [e.dagster_event.event_specific_data for e in logs if e.dagster_event]
        return {f.partition: f.passed for f in found if f.check_name == check}


@contextmanager
def runs(folder: Path) -> Iterator[Runs]:
    world = World(folder)
    world.drop(b"site,limit\na,10\nb,20\n", None, "sites.csv", "sites")
    world.ingest(None, "sites")
    (folder / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
        yield Runs(world, instance)
