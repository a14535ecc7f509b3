"""The lakehouse and the landing folder as Dagster resources."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import dagster as dg

from assets.ingestion.lakehouse import Lakehouse


class LakehouseResource(dg.ConfigurableResource):
    """Iceberg tables in a SQL catalog.

    Attributes:
        catalog_uri: SQLAlchemy address of the catalog.
        location: URI of the folder or bucket that holds the tables.
    """

    catalog_uri: str
    location: str

    @cached_property
    def _lakehouse(self) -> Lakehouse:
        return Lakehouse(self.catalog_uri, self.location)

    def open(self) -> Lakehouse:
        return self._lakehouse


class LandingResource(dg.ConfigurableResource):
    """The folder into which files are dropped."""

    folder: str

    @property
    def path(self) -> Path:
        return Path(self.folder)
