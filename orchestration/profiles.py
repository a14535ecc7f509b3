"""A profile's settings as Dagster resources and an executor. The code of the assets is the same for every profile."""

from __future__ import annotations

from typing import Any

import dagster as dg

from assets.features.resources import FeaturesResource
from assets.ingestion.resources import LakehouseResource, LandingResource
from assets.training.resources import RegistryResource
from assets.warehouse.resources import WarehouseResource
from serving.settings import Settings


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of the profile that the settings describe.

    ``pipes`` starts heavy work outside the step: a process on a laptop, a pod on a cluster.
    """
    return {
        "lakehouse": LakehouseResource(catalog_uri=settings.catalog, location=settings.lakehouse),
        "landing": LandingResource(folder=str(settings.landing)),
        "features": FeaturesResource(folder=str(settings.features)),
        "registry": RegistryResource(tracking_uri=settings.mlflow),
        "warehouse": WarehouseResource(folder=str(settings.warehouse)),
        "pipes": _pipes(settings),
    }


def _pipes(settings: Settings) -> dg.PipesClient:
    if settings.profile == "laptop":
        return dg.PipesSubprocessClient()
    from orchestration.pipes import BoundedPipesK8sClient
    from orchestration.sizes import read_sizes

    return BoundedPipesK8sClient(size=read_sizes().sizes.get("gpu"), home=settings.home)


def executor(settings: Settings, steps: dg.Definitions) -> dg.ExecutorDefinition:
    """How the steps of a run are executed.

    On a laptop in one process, where starting Python again for each would cost more than most of them. On a cluster a
    pod each, of the size that the tags of ``steps`` ask for.
    """
    if settings.profile == "laptop":
        return dg.in_process_executor
    from dagster_k8s import k8s_job_executor

    from orchestration.sizes import executor_config, read_sizes

    return k8s_job_executor.configured(executor_config(steps, read_sizes()), name="k8s")
