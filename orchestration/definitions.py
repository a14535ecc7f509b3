"""All of Clearway as Dagster sees it: the stages' assets, the profile's resources, and when things run."""

import warnings

import dagster as dg

import assets.delivery.assets as delivery
import assets.delivery.copilot as copilot_delivery
import assets.features.assets as features
import assets.ingestion.assets as ingestion
import assets.knowledge.assets as knowledge
import assets.monitoring.assets as monitoring
import assets.training.assets as training
import assets.training.llm.assets as copilot
import assets.warehouse.assets as warehouse
from assets.domains import current_domain
from assets.warehouse.manifest import load_manifest
from orchestration import pools, warm
from orchestration.jobs import jobs
from orchestration.knowledge_sensor import knowledge_sensor
from orchestration.profiles import executor, resources
from orchestration.progress import progress_logger
from orchestration.retraining import alerts_sensor, retraining_sensor, reviews_sensor
from orchestration.retuning import retuning_sensor
from orchestration.rollouts import outcomes_sensor, rollout_command, rollouts_job, rollouts_sensor
from orchestration.schedules import schedules
from orchestration.sensors import automation_sensor, failure_sensor, feeds_sensor, landing_sensor
from serving.settings import get_settings

# Partitioned checks and single-run backfills are marked preview and beta; a test pins their behaviour.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)

pools.mend()
warm.mend()

STAGES = (ingestion, warehouse, features, training, delivery, monitoring, copilot, copilot_delivery, knowledge)

settings = get_settings()
domain = current_domain()
all_jobs = [*jobs(domain), rollouts_job(domain)]
by_name = {job.name: job for job in all_jobs}


def _all() -> dg.Definitions:
    # The stages have no name in this module: Dagster's commands want exactly one Definitions in it.
    stages = dg.Definitions.merge(*(stage.definitions(domain) for stage in STAGES))
    return dg.Definitions.merge(
        stages,
        dg.Definitions(
            jobs=[*all_jobs, rollout_command],
            sensors=[
                landing_sensor(domain, by_name["ingest"]),
                feeds_sensor(domain, by_name["feeds"]),
                rollouts_sensor(domain, by_name["rollouts"]),
                outcomes_sensor(domain, by_name["outcomes"]),
                reviews_sensor(domain, load_manifest(domain.dbt_project, settings.dbt_target), by_name["review"]),
                retraining_sensor(domain, by_name["train"]),
                alerts_sensor(domain),
                *([retuning_sensor(domain, by_name["copilot"])] if "copilot" in by_name else []),
                *([knowledge_sensor(domain, by_name["knowledge"])] if "knowledge" in by_name else []),
                failure_sensor,
                automation_sensor(),
            ],
            schedules=schedules(by_name["publish_events"], by_name["freshness"]),
            resources=resources(settings),
            executor=executor(settings, stages),
            loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        ),
    )


defs = _all()
