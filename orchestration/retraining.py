"""The closed loop: sensors that have periods reviewed, decisions carried out, and people told."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from assets.delivery.assets import DECISION_TAG, outcomes_key, release_key
from assets.domains import Domain
from assets.features.assets import training_set_key
from assets.features.resources import FeaturesResource
from assets.monitoring.assets import drift_key
from assets.monitoring.history import history
from assets.monitoring.record import Records
from assets.monitoring.review import Stores, built
from assets.monitoring.review_assets import history_key, reviews_key
from assets.monitoring.served import prediction_mart
from assets.monitoring.watch import alerts, keep
from assets.training.assets import version_key
from assets.training.spec import ModelDeclaration
from assets.training.tabular.version import stable_version
from assets.warehouse.manifest import Manifest
from assets.warehouse.resources import WarehouseResource
from orchestration.jobs import AssetJob
from orchestration.pace import interval
from serving import clock
from serving.settings import get_settings

REVIEW_TAG = "clearway/review"
ATTEMPTS = 3  # at a review, before it is left to people


def due(domain: Domain, model: ModelDeclaration, now: datetime) -> date | None:
    """The newest period that is over long enough to be reviewed at ``now``; None when none is."""
    wait = timedelta(days=model.retraining.wait_days)
    return next((p for p in reversed(domain.periods) if domain.bounds(p)[1] + wait <= now), None)


def overdue(domain: Domain, model: ModelDeclaration, period: date, now: datetime) -> bool:
    """Whether a period's files are so late that it is reviewed without them: people must know that labels are out."""
    late = max((s.due_days for s in domain.sources.values() if s.partitioned), default=0.0)
    return domain.bounds(period)[1] + timedelta(days=model.retraining.wait_days + late) <= now


def _failed(context: dg.SensorEvaluationContext, job: AssetJob, model: str, period: date) -> int:
    """How often the review of a period has failed."""
    tags, failure = {REVIEW_TAG: f"{model}:{period}"}, [dg.DagsterRunStatus.FAILURE]
    return context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, tags=tags, statuses=failure))


def reviews_sensor(domain: Domain, manifest: Manifest, job: AssetJob) -> dg.SensorDefinition:
    """Has the newest period that is over reviewed, once for each model that has a released version.

    What is older is not made up for: a decision is about what comes next.
    """
    others = {model: [drift_key(model), reviews_key(model), history_key(model), outcomes_key(model)]
              for model in domain.models}  # fmt: skip

    @dg.sensor(
        name="reviews",
        job=job,
        minimum_interval_seconds=interval(60),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="A review of every model when a period is over and its labels are there.",
    )
    def periods_to_review(
        context: dg.SensorEvaluationContext, warehouse: WarehouseResource, features: FeaturesResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        settings = get_settings()
        stores = Stores(domain, manifest, warehouse.file, features, settings)
        waiting = []
        for model in domain.models.values():
            period = due(domain, model, clock.now())
            if period is None:
                waiting.append(f"{model.name}: no period is over")
            elif stable_version(model.name, settings) is None:
                waiting.append(f"{model.name}: no version is released")
            elif prediction_mart(manifest, model) is None:
                waiting.append(f"{model.name}: no mart of predictions has its label")
            elif Records(settings.reviews, model.name).of(period) is not None:
                waiting.append(f"{model.name}: {period:%Y-%m} was reviewed")
            elif not built(stores, model, period) and not overdue(domain, model, period, clock.now()):
                waiting.append(f"{model.name}: {period:%Y-%m} is not in the warehouse")
            elif (failed := _failed(context, job, model.name, period)) >= ATTEMPTS:
                waiting.append(f"{model.name}: the review of {period:%Y-%m} failed {failed} times; see its runs")
            else:
                left_out = {key for name, keys in others.items() if name != model.name for key in keys}
                yield dg.RunRequest(
                    run_key=f"review:{model.name}:{period}:{failed}",
                    tags={REVIEW_TAG: f"{model.name}:{period}"},
                    partition_key=period.isoformat(),
                    asset_selection=[key for key in _selected(context, job) if key not in left_out],
                )
                continue
        if len(waiting) == len(domain.models):
            yield dg.SkipReason("; ".join(waiting) or "no model is declared")

    return periods_to_review


def _selected(context: dg.SensorEvaluationContext, job: AssetJob) -> list[dg.AssetKey]:
    repository = context.repository_def
    assert repository is not None
    return sorted(repository.get_job(job.name).asset_layer.selected_asset_keys)


def retraining_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """Carries out each decision to retrain by one run, which Dagster starts once for its key."""

    @dg.sensor(
        name="retraining",
        job=job,
        minimum_interval_seconds=interval(30),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="One run for each decision to retrain: training set, challenger, gates, rollout.",
    )
    def decisions(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        settings = get_settings()
        asked = 0
        for model in domain.models:
            newest = Records(settings.reviews, model).retraining()
            if newest is None or any(c.record.id == newest.id and c.carried_out for c in history(model, settings)):
                continue
            asked += 1
            yield dg.RunRequest(
                run_key=f"retrain:{newest.id}",
                asset_selection=[training_set_key(model), version_key(model), release_key(model)],
                tags={DECISION_TAG: newest.id},
            )
        if not asked:
            yield dg.SkipReason("no decision to retrain waits")

    return decisions


def alerts_sensor(domain: Domain) -> dg.SensorDefinition:
    """Delivers alerts that a sink has not got yet, because it was down."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=interval(30),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Delivers alerts to the declared sinks until each has got them.",
    )
    def undelivered(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings = get_settings()
        kept = alerts(domain, settings, context.log.warning)
        for model in domain.models:  # what could not be kept when it was decided is on record
            for record in Records(settings.reviews, model).all()[-1:]:
                keep(record, kept)
        done = kept.deliver()
        failed = [f"{d.alert} has not reached {d.sink}: {d.problem}" for d in done if d.problem]
        for problem in failed:
            context.log.error(problem)
        return dg.SkipReason("; ".join(failed) or f"{len(done)} alerts delivered")

    return undelivered
