"""What is in the published warehouse and what it was built from, read from the file itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.warehouse.manifest import Manifest

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class NodeResult:
    """What dbt says of one model or test."""

    unique_id: str
    status: str
    seconds: float
    failures: int | None
    message: str | None

    @property
    def ok(self) -> bool:
        return self.status in ("success", "pass", "warn")


@contextmanager
def reading(warehouse_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the published file; a replacement meanwhile does not disturb it."""
    import duckdb

    connection = duckdb.connect(str(warehouse_file), read_only=True)
    try:
        connection.execute("set TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def has_ledger(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether anything was ever built into the file."""
    found = connection.execute(
        "select count(*) from information_schema.tables where table_schema = 'clearway' and table_name = 'builds'"
    ).fetchone()
    return bool(found and found[0])


def last_results(warehouse_file: Path) -> dict[str, NodeResult]:
    """The newest result of every model and test, from the file itself."""
    with reading(warehouse_file) as connection:
        rows = connection.execute(
            "select unique_id, status, seconds, failures, message from clearway.results"
        ).fetchall()
    return {row[0]: NodeResult(*row) for row in rows}


def row_counts(warehouse_file: Path, manifest: Manifest, models: list[str]) -> dict[str, tuple[int, dict[str, int]]]:
    """Rows of each model's table: in all, and by month where it has a column ``period``; views are left out."""
    counts: dict[str, tuple[int, dict[str, int]]] = {}
    with reading(warehouse_file) as connection:
        for name in models:
            model = {**manifest.models, **manifest.served}[name]
            if model.materialized == "view":
                continue
            table = f'"{model.schema}"."{name}"'
            total: Any = connection.execute(f"select count(*) from {table}").fetchone()
            months = {}
            if "period" in model.columns:
                rows = connection.execute(f"select period::varchar, count(*) from {table} group by 1").fetchall()
                months = dict(rows)
            counts[name] = (total[0], months)
    return counts


def build_keys(warehouse_file: Path, models: list[str], until: date) -> dict[str, str]:
    """Keys of what was built of these models for the months before ``until``, as ``model/month``."""
    with reading(warehouse_file) as connection:
        rows = connection.execute(
            "select model, period::varchar, key from clearway.builds where period < ? and model in (select unnest(?))",
            [until, models],
        ).fetchall()
    return {f"{model}/{period}": key for model, period, key in sorted(rows)}


def newest_period(warehouse_file: Path, models: list[str]) -> date | None:
    """The newest month for which all these models were built."""
    with reading(warehouse_file) as connection:
        row = connection.execute(
            "select max(period) from (select period from clearway.builds where model in (select unnest(?))"
            " group by period having count(*) = ?)",
            [models, len(models)],
        ).fetchone()
    return row[0] if row else None


def source_snapshots(warehouse_file: Path, models: list[str], start: date, until: date) -> dict[str, dict[str, str]]:
    """The Iceberg snapshots that these models were built from: for each month in [start, until), by source."""
    with reading(warehouse_file) as connection:
        rows = connection.execute(
            "select distinct period::varchar, snapshots from clearway.builds"
            " where period >= ? and period < ? and model in (select unnest(?)) order by 1",
            [start, until, models],
        ).fetchall()
    return {period: json.loads(snapshots) for period, snapshots in rows}
