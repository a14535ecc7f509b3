"""Rollouts in Dagster: a sensor that shows what they do, and a job by which people step in."""

import json
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from assets.delivery.assets import rollouts_key
from assets.delivery.outcomes import waiting_for_metrics
from assets.domains import Domain
from assets.training.llm.assets import copilot_of
from orchestration.jobs import AssetJob
from orchestration.pace import interval
from serving.rollout.log import RolloutLog
from serving.semantics.asking import COPILOT
from serving.settings import get_settings


class RolloutCommand(dg.Config):
    """What to tell a model's rollout, and why; both are kept in its log."""

    model: str = Field(description="registered model")
    action: str = Field(description="pause, resume, promote, abort, or roll_back to the version before the stable one")
    reason: str = Field(description="for the record")


@dg.op(description="Tells the rollout controller what a person decided.")
def tell_rollout(context: dg.OpExecutionContext, config: RolloutCommand) -> None:
    from serving.errors import ClearwayError
    from serving.rollout import commands

    by = f"dagster run {context.run_id}"
    try:
        if config.action == "roll_back":
            ident = commands.roll_back(config.model, by, config.reason)
        else:
            ident = commands.send(config.model, config.action, by, config.reason).rollout
    except ClearwayError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.log.info(f"{config.model}: rollout {ident} is told to {config.action}")


@dg.job(description="Pause, resume, promote or abort the rollout of a model, or go back to the version before.")
def rollout_command() -> None:
    tell_rollout()


def released(domain: Domain) -> list[str]:
    """The models that have rollouts: those that the domain declares, and its copilot."""
    return [*domain.models, *([COPILOT] if copilot_of(domain) else [])]


def rollouts_job(domain: Domain) -> AssetJob:
    """The job that shows the rollouts of every model as they are."""
    return dg.define_asset_job(
        "rollouts",
        selection=dg.AssetSelection.assets(*(rollouts_key(model) for model in released(domain))),
        description="Show the rollouts of every model as they are now.",
    )


def outcomes_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """Has the metrics of what was served computed every minute while a rollout's gates judge by them."""

    @dg.sensor(
        name="outcomes",
        job=job,
        minimum_interval_seconds=interval(60),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the gates of rollouts what the semantic layer knows of their requests.",
    )
    def rollouts_that_wait(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        waiting = [waiting_for_metrics(model, get_settings()) for model in domain.models]
        names = [ident for ident in waiting if ident]
        if not names:
            return dg.SkipReason("no rollout is judged by a metric of the semantic layer")
        count = int(context.cursor or 0) + 1
        context.update_cursor(str(count))
        return dg.RunRequest(run_key=f"{'-'.join(names)}-{count}")

    return rollouts_that_wait


def rollouts_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """Shows a model's rollouts again whenever its log has grown; the cursor is the length of each log."""

    @dg.sensor(
        name="rollouts",
        job=job,
        minimum_interval_seconds=interval(15),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows rollouts again when something happened to them.",
    )
    def rollouts_that_moved(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        settings = get_settings()
        before: dict[str, int] = json.loads(context.cursor or "{}")
        logs = {model: RolloutLog(model, settings).path for model in released(domain)}
        now = {model: path.stat().st_size if path.exists() else 0 for model, path in logs.items()}
        moved = [model for model in now if now[model] != before.get(model, 0)]
        if moved:
            names = "-".join(f"{model}:{now[model]}" for model in moved)
            yield dg.RunRequest(run_key=names, asset_selection=[rollouts_key(model) for model in moved])
        else:
            yield dg.SkipReason("no rollout has moved")
        context.update_cursor(json.dumps(now))

    return rollouts_that_moved
