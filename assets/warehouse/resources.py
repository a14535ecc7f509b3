"""The warehouse as a Dagster resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg


class WarehouseResource(dg.ConfigurableResource):
    """The folder that holds the published DuckDB file and the copies being built."""

    folder: str

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def file(self) -> Path:
        return self.path / "warehouse.duckdb"
