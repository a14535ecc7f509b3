"""What starts runs by itself: a dropped file, changed upstream data; and what says that a run failed."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.declared import fingerprint
from assets.delivery.assets import DECISION_TAG
from assets.domains import Domain, current_domain
from assets.features.pushed import PUSHED
from assets.ingestion.assets import feed_key, source_key
from assets.ingestion.feed import FILES
from assets.ingestion.lakehouse import Entry, Lakehouse
from assets.ingestion.landing import Drop, all_drops
from assets.ingestion.publish import raw
from assets.ingestion.reading import content_id
from assets.ingestion.resources import LakehouseResource, LandingResource
from assets.monitoring.alerts import Alert
from assets.monitoring.watch import alerts
from orchestration.failures import why
from orchestration.jobs import AssetJob
from orchestration.pace import interval
from serving import clock
from serving.events.reader import closed_segments
from serving.settings import get_settings

AT_MOST_EVERY = timedelta(seconds=60)  # a run of the feeds, while more is coming
NOT_BEGUN = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]


def landing_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """Requests exactly one run for each source, period and content that was dropped and is not published.

    Sources of one period go into one run, in the order of their references; a source whose reference is neither
    published nor dropped waits. The cursor remembers what was requested, so that a drop that its contract rejects is
    not tried again until its content changes.
    """

    @dg.sensor(
        name="landing",
        job=job,
        minimum_interval_seconds=interval(20),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="One run for each source, period and content that is dropped.",
    )
    def landing_drops(
        context: dg.SensorEvaluationContext, lakehouse: LakehouseResource, landing: LandingResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        requested: dict[str, str] = json.loads(context.cursor or "{}")
        groups, waiting = plan_runs(domain, lakehouse.open(), all_drops(landing.path), requested)
        for period, drops in groups.items():
            contents = {d.source: content_id(d.path) for d in drops}
            for drop in drops:
                requested[_name(drop)] = contents[drop.source]
            yield dg.RunRequest(
                run_key=run_key(lakehouse.open(), drops, contents),
                partition_key=period,
                asset_selection=[source_key(d.source) for d in drops],
                tags={"clearway/drops": ",".join(sorted(contents))},
            )
        context.update_cursor(json.dumps(requested))
        if not groups:
            yield dg.SkipReason("; ".join(waiting) or "every drop is published or was requested")

    return landing_drops


def feeds_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """Requests a run when something of the feed waits and no run does: one takes all that waits when it starts."""

    @dg.sensor(
        name="feeds",
        job=job,
        minimum_interval_seconds=interval(15, least=3),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes what operations told.",
    )
    def told(context: dg.SensorEvaluationContext, landing: LandingResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        waiting = {
            source.name: [
                *closed_segments(get_settings().feeds / source.name),
                *sorted((landing.path / "feeds" / source.name).glob(FILES)),
            ]
            for source in domain.sources.values()
            if source.feed
        }
        names = [f"{name}/{path.parent.name}/{path.name}" for name, paths in waiting.items() for path in paths]
        if not names:
            yield dg.SkipReason("nothing was told since the last run")
            return
        if context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, statuses=NOT_BEGUN)):
            yield dg.SkipReason("a run that will take it waits to start")
            return
        newest = max((path.stat().st_mtime for paths in waiting.values() for path in paths if path.exists()), default=0)
        if _takes(context, job, newest):
            yield dg.SkipReason("a run takes it")
            return
        # Hardly older than a segment: more is likely to come soon.
        if time.time() - newest < 1.5 * get_settings().segment_seconds and _lately(context, job):
            yield dg.SkipReason("more is coming, and a run was made just now")
            return
        # A chain: the same names may come again, as a file that is dropped every day does.
        key = fingerprint([context.cursor, names])
        feeds = [feed_key(name) for name, paths in waiting.items() if paths]
        yield dg.RunRequest(run_key=key, asset_selection=[*feeds, PUSHED] if get_settings().push_told else feeds)
        context.update_cursor(key)

    return told


def _takes(context: dg.SensorEvaluationContext, job: AssetJob, newest: float) -> bool:
    """Whether a run goes that began when all of this was there."""
    going = dg.RunsFilter(job_name=job.name, statuses=[dg.DagsterRunStatus.STARTED])
    return any((found.start_time or 0) > newest for found in context.instance.get_run_records(going))


def _lately(context: dg.SensorEvaluationContext, job: AssetJob) -> bool:
    """Whether a run was made so lately that another has to wait: a run takes seconds, however little it publishes."""
    after = dg.RunsFilter(job_name=job.name, created_after=datetime.now(UTC) - AT_MOST_EVERY)
    return bool(context.instance.get_runs_count(after))


def run_key(lakehouse: Lakehouse, drops: list[Drop], contents: dict[str, str]) -> str:
    """Names a run by what it would publish and what that replaces.

    Dagster starts no second run of one key. Content alone would not do: a drop that goes back to what was published
    before its correction is new.
    """
    parts = []
    for drop in sorted(drops, key=lambda d: d.source):
        entry = lakehouse.ledger(raw(drop.source)).get(drop.period)
        parts.append(f"{drop.source}={contents[drop.source]}@{entry.snapshot_id if entry else 'nothing'}")
    return f"{drops[0].period or 'tables'}:{','.join(parts)}"


def plan_runs(
    domain: Domain, lakehouse: Lakehouse, drops: list[Drop], requested: dict[str, str]
) -> tuple[dict[str | None, list[Drop]], list[str]]:
    """Which drops are to be run together, by period, and which wait for what.

    Args:
        requested: content that was requested before, by source and period.
    """
    ledgers = {name: lakehouse.ledger(raw(name)) for name in domain.sources}
    new: dict[str | None, list[Drop]] = {}
    waiting = []
    valid = {p.isoformat() for p in domain.periods}
    for drop in drops:
        if drop.source not in domain.sources:
            waiting.append(f"{drop.path}: no source {drop.source} is declared")
            continue
        period = drop.period.isoformat() if drop.period else None
        if domain.sources[drop.source].partitioned != (period is not None) or (period and period not in valid):
            waiting.append(f"{drop.path}: not a period of the domain")
            continue
        entry = ledgers[drop.source].get(drop.period)
        content = content_id(drop.path)
        if requested.get(_name(drop)) == content or (entry is not None and entry.report["drop"] == content):
            continue
        new.setdefault(period, []).append(drop)
    for period, ready in list(new.items()):
        # Who waits may be waited for by others, so this is done until nobody leaves.
        while blocked := [(drop, missing) for drop in ready if (missing := _missing(domain, ledgers, drop, ready))]:
            for drop, missing in blocked:
                waiting.append(f"{_name(drop)} waits for {', '.join(missing)}")
                ready.remove(drop)
        if not ready:
            del new[period]
    return new, waiting


def _missing(
    domain: Domain, ledgers: dict[str, dict[date | None, Entry]], drop: Drop, together: list[Drop]
) -> list[str]:
    """Sources that the drop's contract reads and that are neither published nor in the same run."""
    return [
        other
        for other in domain.sources[drop.source].sources_read
        if (drop.period if domain.sources[other].partitioned else None) not in ledgers[other]
        and not any(d.source == other for d in together)
    ]


def _name(drop: Drop) -> str:
    return f"{drop.source}/{drop.period or 'table'}"


@dg.run_failure_sensor(
    name="failures",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Says of a failed run: asset, partition, why, what was left untouched, what to do.",
)
def failure_sensor(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run
    partition = run.tags.get("dagster/partition") or "…".join(
        filter(
            None,
            (run.tags.get("dagster/asset_partition_range_start"), run.tags.get("dagster/asset_partition_range_end")),
        )
    )
    failed = context.get_step_failure_events()
    notes = [
        {
            "asset": event.step_key or "-",
            "why": why(event),
        }
        for event in failed
    ] or [{"asset": "-", "why": context.failure_event.message or "the run's process ended"}]
    decision = run.tags.get(DECISION_TAG)
    what = f"the retraining that review {decision} asked for" if decision else f"job {run.job_name}"
    alert = Alert(
        f"run-{run.run_id}",
        clock.now().isoformat(),
        f"{what} failed{f' for {partition}' if partition else ''}",
        "\n".join(f"{note['asset']}: {note['why']}" for note in notes)
        + ("\nThe champion goes on answering." if decision else "")
        + "\nWhat readers see is untouched: a step publishes only by its last action, after its checks. Mend what is "
        "named and run the same partitions again; finished steps find their work done.",
        {"run": run.run_id, "job": run.job_name, "partition": partition or "none", "failed": notes,
         **({"decision": decision} if decision else {})},
    )  # fmt: skip
    kept = alerts(current_domain(), get_settings(), context.log.error)
    kept.keep(alert)
    for delivery in kept.deliver():
        if delivery.problem:
            context.log.error(f"alert {delivery.alert} has not reached {delivery.sink}: {delivery.problem}")


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of the warehouse, metrics and features."""
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.groups("warehouse", "metrics", "features"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=interval(30, least=10),  # a look takes a second or two
    )
