"""A profile's settings as Dagster resources. The code of the assets is the same for every profile."""

from __future__ import annotations

from typing import Any

import dagster as dg

from assets.features.resources import FeaturesResource
from assets.ingestion.resources import LakehouseResource, LandingResource
from assets.training.resources import RegistryResource
from assets.warehouse.resources import WarehouseResource
from serving.settings import Settings


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of the profile that the settings describe."""
    return {
        "lakehouse": LakehouseResource(catalog_uri=settings.catalog, location=settings.lakehouse),
        "landing": LandingResource(folder=str(settings.landing)),
        "features": FeaturesResource(folder=str(settings.features)),
        "registry": RegistryResource(tracking_uri=settings.mlflow),
        "warehouse": WarehouseResource(folder=str(settings.warehouse)),
    }


def executor(settings: Settings) -> dg.ExecutorDefinition:
    """Steps of a run: in one process, where starting Python again for each would cost more than most of them."""
    return dg.in_process_executor
