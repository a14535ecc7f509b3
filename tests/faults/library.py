"""The second domain's stages as plain functions over one home: what a fault is planted into.

A stage runs in a child of its own (``forker``), so that it can be killed, limited or given another environment.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from assets.domains import Domain, load_domain
from assets.ingestion.lakehouse import Lakehouse
from serving.settings import Settings
from tests.running import SECOND_DOMAIN

MONTHS = tuple(date(2021, month, 1) for month in range(1, 5))
JANUARY, FEBRUARY, MARCH, APRIL = MONTHS
FIRST_SEEN = datetime(2021, 5, 2, tzinfo=UTC)
Row = dict[str, str]


class Library:
    """One home of the second domain."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, domain=SECOND_DOMAIN)
        self.domain: Domain = load_domain(SECOND_DOMAIN)

    @property
    def lakehouse(self) -> Lakehouse:
        return Lakehouse(self.settings.catalog, self.settings.lakehouse)

    # What arrives.
    def land(self) -> None:
        self.domain.sample().land(self.settings.landing)

    def redrop(self, period: date, edit: Callable[[list[Row]], list[Row]]) -> str:
        """Drop the month again, edited; returns the file's name."""
        folder = self.settings.landing / "loans" / period.isoformat()
        newest = max(folder.iterdir(), key=lambda f: (f.stat().st_mtime_ns, f.name))
        with newest.open() as file:
            rows = list(csv.DictReader(file))
        target = folder / f"again_{len(list(folder.iterdir())):03d}.csv"
        part = target.with_suffix(".part")
        with part.open("w") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(edit([dict(r) for r in rows]))
        os.utime(part, ns=(newest.stat().st_mtime_ns + 10**9,) * 2)
        part.replace(target)
        return target.name

    # The stages. Each returns plain data.
    def ingest(self, period: str | None = None, source: str = "loans", now: str | None = None) -> str:
        from assets.ingestion.publish import ingest

        when = datetime.fromisoformat(now) if now else FIRST_SEEN
        which = date.fromisoformat(period) if period else None
        declared = self.domain.sources[source]
        return ingest(self.domain, declared, which, self.lakehouse, self.settings.landing, when, "run").status

    def ingest_together(self, home: str, meet: str, *periods: str | None) -> list[int | None]:
        """Ingest partitions in a process each; they meet at the start, or after each has staged from the same base."""
        import multiprocessing

        import assets.ingestion.lakehouse as lakehouse

        fork = multiprocessing.get_context("fork")
        barrier = fork.Barrier(len(periods))

        def one(period: str | None) -> None:
            if meet == "staged":
                waiting = [True]

                def boundary(name: str) -> None:
                    if name == "ingestion.staged" and waiting:
                        waiting.clear()
                        barrier.wait(60)

                lakehouse.boundary = boundary  # type: ignore[assignment]
            else:
                barrier.wait(60)
            Library(Path(home)).ingest(period, "loans" if period else "branches")

        processes = [fork.Process(target=one, args=(period,)) for period in periods]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]

    def _manifest(self) -> Any:
        from assets.warehouse.manifest import load_manifest

        return load_manifest(self.domain.dbt_project, self.settings.dbt_target)

    def build(self, *periods: str) -> str:
        from assets.warehouse.assets import plan
        from assets.warehouse.build import publish, stale

        manifest = self._manifest()
        wanted = [date.fromisoformat(p) for p in periods] or list(MONTHS)
        build = plan(self.domain, manifest, self.lakehouse, tuple(sorted(manifest.models)), wanted)
        if not stale(self.settings.warehouse_file, build):
            return "unchanged"
        publish(build, manifest, self.domain.dbt_project, self.settings.warehouse, "run", lambda line: None)
        return "built"

    def export(self, *periods: str) -> dict[str, int]:
        from assets.features.offline import export, feature_marts

        manifest = self._manifest()
        wanted = [date.fromisoformat(p) for p in periods] or list(MONTHS)
        rows: dict[str, int] = {}
        for mart in feature_marts(manifest):
            done = export(self.domain, manifest, self.settings.warehouse_file, self.settings.features, mart, wanted)
            rows.update({p.isoformat(): n for p, n in done.rows.items()})
        return rows

    def window(self) -> dict[str, Any]:
        from assets.declared import fingerprint
        from assets.features.offline import feature_marts
        from assets.features.resources import FeaturesResource
        from assets.features.sets import publish_window
        from assets.warehouse.ledger import build_keys

        manifest, features = self._manifest(), FeaturesResource(folder=str(self.settings.features))
        as_of = self.domain.bounds(APRIL)[1]
        key = fingerprint(build_keys(self.settings.warehouse_file, feature_marts(manifest), as_of.date()))
        pointer, parity = publish_window(self.domain, manifest, self.settings.warehouse_file, features, as_of, key)
        return {"window": pointer["window"], "status": parity["status"]}

    def window_that_lost_rows(self) -> dict[str, Any]:
        """A window of which some rows are gone between materialisation and comparison."""
        import sqlite3

        from assets.features import online

        real = online.materialize

        def lossy(*arguments: Any) -> Any:
            store, pointer = real(*arguments)
            with sqlite3.connect(pointer["online_store"]) as connection:
                connection.execute("delete from lending_library_reader_daily where rowid % 2 = 0")
            return store, pointer

        online.materialize = lossy
        return self.window()

    def training_sets(self, now: str) -> list[str]:
        """Files of the set to learn from and of the later one."""
        from assets.features.resources import FeaturesResource
        from assets.features.sets import build_both

        features = FeaturesResource(folder=str(self.settings.features))
        model = self.domain.models["late_return"]
        file = self.settings.warehouse_file
        both = build_both(self.domain, self._manifest(), model, file, features, datetime.fromisoformat(now))
        return [str(s.path) for s in both]

    def historical(self, reader: str, at: str, as_known_then: bool) -> dict[str, float | None]:
        """A reader's features at an instant, by the platform's own point-in-time join."""
        import pandas as pd

        from assets.features.sets import offline_store
        from assets.features.training_set import historical_features

        with offline_store(self.domain) as store:
            entities = pd.DataFrame({"reader": [reader], "event_timestamp": [pd.Timestamp(at)]})
            found = historical_features(store, "late_return_v1", entities, as_known_then=as_known_then)
        return {str(k): None if pd.isna(v) else float(v) for k, v in found.iloc[0].items()}

    def events(self) -> dict[str, int]:
        from assets.ingestion.events import publish_events

        return vars(publish_events(self.lakehouse, self.settings.events))

    # What readers see.
    def online(self, reader: str) -> dict[str, Any]:
        """What a model server reads of a reader, and from which window."""
        from serving.models.features import OnlineFeatures

        features = OnlineFeatures("late_return_v1", self.settings)
        (row,) = features.read([{"reader": reader}])
        return {"window": features.window, **row.values}


def late(loans: set[str]) -> Callable[[list[Row]], list[Row]]:
    """An edit: these loans came back 30 days after they were due."""
    from datetime import timedelta

    def edit(rows: list[Row]) -> list[Row]:
        for row in rows:
            if row["loan"] in loans:
                back = datetime.fromisoformat(row["due_at"]) + timedelta(days=30)
                row["returned_at"] = back.strftime("%Y-%m-%dT%H:%M:%SZ")
        return rows

    return edit
