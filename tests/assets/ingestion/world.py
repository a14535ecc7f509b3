"""A small invented domain for ingestion: readings of meters, with a table of sites."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.domains import Domain, DomainFile, Partitions
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.landing import put
from assets.ingestion.publish import Published, ingest
from assets.ingestion.spec import Source

JANUARY, FEBRUARY, MARCH = date(2020, 1, 1), date(2020, 2, 1), date(2020, 3, 1)
NOW = datetime(2020, 6, 1, tzinfo=UTC)

SITES: dict[str, Any] = {
    "name": "sites",
    "title": "Sites",
    "description": "Where meters are.",
    "partitioned": False,
    "key": ["site"],
    "columns": [{"name": "site", "type": "string"}, {"name": "limit", "type": "number"}],
    "rows": {"min": 1, "max": 100},
    "max_quarantined_share": 0,
}
READINGS: dict[str, Any] = {
    "name": "readings",
    "title": "Readings",
    "description": "Hourly readings.",
    "partitioned": True,
    "key": ["site", "at"],
    "columns": [
        {"name": "site", "type": "string"},
        {"name": "at", "type": "timestamp"},
        {"name": "value", "type": "number"},
        {"name": "count", "type": "integer"},
    ],
    "rows": {"min": 2, "max": 1000},
    "max_quarantined_share": 0.25,
    "rules": [
        {"name": "within_month", "description": "in its month", "in_period": "at", "action": "quarantine"},
        {
            "name": "site_known",
            "description": "a known site",
            "references": {"source": "sites", "columns": ["site"]},
            "columns": ["site"],
            "action": "note",
        },
        {
            "name": "value_possible",
            "description": "values are below 1000",
            "expectation": "ExpectColumnValuesToBeBetween",
            "arguments": {"column": "value", "max_value": 1000},
            "action": "repair",
            "repair": {"set": {"value": None}},
        },
        {
            "name": "count_positive",
            "description": "counts are not negative",
            "expectation": "ExpectColumnValuesToBeBetween",
            "arguments": {"column": "count", "min_value": 0},
            "action": "quarantine",
        },
        {
            "name": "mostly_valued",
            "description": "half of the values are given",
            "expectation": "ExpectColumnProportionOfNonNullValuesToBeBetween",
            "arguments": {"column": "value", "min_value": 0.5},
            "action": "reject",
        },
    ],
}


def good_rows(period: date, count: int = 20) -> list[list[str]]:
    return [["a", f"{period:%Y-%m}-{1 + i:02d}T00:00:00Z", str(float(i)), str(i)] for i in range(count)]


def csv(rows: list[list[str]], header: tuple[str, ...] = ("site", "at", "value", "count")) -> bytes:
    return "\n".join(",".join(row) for row in [list(header), *rows]).encode() + b"\n"


class World:
    """A landing folder, a lakehouse and a domain in a temporary folder."""

    def __init__(self, folder: Path, readings: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.landing = folder / "landing"
        self.lakehouse = Lakehouse(f"sqlite:///{folder}/lake/catalog.db", f"file://{folder}/lake/tables")
        self.set_contract(readings or READINGS)

    def set_contract(self, readings: dict[str, Any]) -> None:
        declared = DomainFile(
            name="meters",
            title="Meters",
            description="-",
            owner="team:meters",
            timezone="UTC",
            partitions=Partitions(start=date(2020, 1, 1), end=date(2021, 1, 1)),
            dbt_project="dbt",
            feature_repo="features",
        )
        sources = {s["name"]: Source.model_validate(s) for s in (SITES, readings)}
        self.domain = Domain(self.folder, declared, sources, {})

    def drop(
        self, content: bytes, period: date | None = JANUARY, name: str = "readings.csv", source: str = "readings"
    ) -> Path:
        file = self.folder / "incoming"
        file.write_bytes(content)
        return put(self.landing, source, period, file, name)

    def ingest(
        self, period: date | None = JANUARY, source: str = "readings", now: datetime = NOW, run: str = "run"
    ) -> Published:
        return ingest(self.domain, self.domain.sources[source], period, self.lakehouse, self.landing, now, run)

    def rows(self, period: date | None = JANUARY, source: str = "readings") -> list[dict[str, Any]]:
        table = self.lakehouse.read(f"raw.{source}", period=period)
        return [] if table is None else sorted(table.to_pylist(), key=lambda r: r["_row"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.drop(b"site,limit\na,10\nb,20\n", None, "sites.csv", "sites")
    made.ingest(None, "sites")
    return made


def zipped(content: bytes) -> bytes:
    return gzip.compress(content)
