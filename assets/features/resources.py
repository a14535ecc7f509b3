"""The feature folders as a Dagster resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg


class FeaturesResource(dg.ConfigurableResource):
    """Where exported features, training sets and online windows lie."""

    folder: str

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def training_sets(self) -> Path:
        return self.path / "training_sets"

    @property
    def pointer(self) -> Path:
        return self.path / "online" / "current.json"
