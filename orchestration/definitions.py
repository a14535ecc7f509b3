"""All of Clearway as Dagster sees it: the stages' assets, the profile's resources, and when things run."""

from __future__ import annotations

import dagster as dg

import assets.features.assets as features
import assets.ingestion.assets as ingestion
import assets.training.assets as training
import assets.warehouse.assets as warehouse
from assets.domains import current_domain
from orchestration.profiles import resources
from serving.settings import get_settings

settings = get_settings()
domain = current_domain()

defs = dg.Definitions.merge(
    ingestion.definitions(domain),
    warehouse.definitions(domain),
    features.definitions(domain),
    training.definitions(domain),
    dg.Definitions(resources=resources(settings)),
)
