"""One asset a source: the published rows of its current drops, with its contract as checks."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg

from assets.domains import Domain
from assets.ingestion import checks, freshness
from assets.ingestion.events import TABLE, publish_events
from assets.ingestion.publish import CODE_VERSION, Published, ingest
from assets.ingestion.reading import DropRejected
from assets.ingestion.resources import LakehouseResource, LandingResource
from assets.ingestion.spec import Source
from assets.metadata import table
from assets.partitions import partitioned, run_periods
from serving import clock
from serving.settings import get_settings

GROUP = "ingestion"
POOL = "lakehouse"


def definitions(domain: Domain) -> dg.Definitions:
    """The assets of all declared sources."""
    sources = domain.sources.values()
    return dg.Definitions(
        assets=[
            *(_source_asset(domain, source) for source in sources),
            *(_feed_asset(domain, source) for source in sources if source.feed),
            _events_asset(domain),
        ],
        asset_checks=[found] if (found := freshness.checks(domain)) else [],
    )


def source_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", name])


def feed_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["feeds", name])


def _source_asset(domain: Domain, source: Source) -> dg.AssetsDefinition:
    @dg.asset(
        key=source_key(source.name),
        # The file corrects what the feed said, so in a run with both it comes after it.
        deps=[*(source_key(name) for name in source.sources_read), *([feed_key(source.name)] if source.feed else [])],
        description=f"{source.title}. {source.description}",
        owners=[source.owner or domain.owner],
        group_name=GROUP,
        kinds={"iceberg", "greatexpectations"},
        tags={"stage": "ingestion"},
        metadata=_declared_metadata(source),
        code_version=CODE_VERSION,
        check_specs=checks.specs(domain, source),
        pool=POOL,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=2),
        **(partitioned(domain) if source.partitioned else {}),
    )
    def published_rows(
        context: dg.AssetExecutionContext, lakehouse: LakehouseResource, landing: LandingResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        rejected: dict[date | None, DropRejected] = {}
        outcomes: list[Published] = []
        for period in run_periods(context) if source.partitioned else [None]:
            try:
                outcome = ingest(
                    domain, source, period, lakehouse.open(), landing.path, clock.now(), context.run.run_id
                )
            except DropRejected as error:
                context.log.error(str(error))
                rejected[period] = error
                continue
            except Exception:
                _record_published(context, outcomes)
                raise
            outcomes.append(outcome)
            _log(context, outcome)
        stored = checks.reconcile(lakehouse.open(), source, [o.period for o in outcomes])
        if rejected:
            _record_published(context, outcomes)
            yield from checks.results(context, source, outcomes, rejected, stored)
            raise dg.Failure(
                description="\n\n".join(str(e) for e in rejected.values()),
                metadata={
                    "rejected_partitions": ", ".join(str(p) for p in rejected),
                    "left_untouched": "the published rows of these partitions",
                    "what_to_do": "drop corrected files, or change the contract, then run these partitions again",
                },
                allow_retries=False,
            )
        for outcome in outcomes:
            context.add_asset_metadata(
                _metadata(outcome), partition_key=outcome.period.isoformat() if outcome.period else None
            )
        yield dg.MaterializeResult()
        yield from checks.results(context, source, outcomes, rejected, stored)

    return published_rows


def _feed_asset(domain: Domain, source: Source) -> dg.AssetsDefinition:
    @dg.asset(
        key=feed_key(source.name),
        description=(
            f"{source.title}, as operations tell them event by event, pushed to the gateway or dropped as a file. "
            "Until a period's file comes these are its rows; then the file corrects them, and says by how much."
        ),
        owners=[source.owner or domain.owner],
        group_name=GROUP,
        kinds={"iceberg", "greatexpectations"},
        tags={"stage": "ingestion"},
        pool=POOL,
    )
    def told(
        context: dg.AssetExecutionContext, lakehouse: LakehouseResource, landing: LandingResource
    ) -> dg.MaterializeResult:
        from assets.ingestion.feed import publish_feed

        done = publish_feed(
            domain, source, lakehouse.open(), get_settings().feeds, landing.path, clock.now(), context.run.run_id
        )
        for period in done.periods:
            if period.status == "published":
                # So that what is built of the rows follows.
                context.log_event(
                    dg.AssetMaterialization(
                        source_key(source.name),
                        partition=period.period.isoformat(),
                        metadata={"status": "of the feed", "dagster/partition_row_count": period.rows},
                    )
                )
        return dg.MaterializeResult(
            metadata={
                **{n: getattr(done, n) for n in ("segments", "events", "doubled", "late", "refused")},
                "periods": table([vars(period) for period in done.periods]),
            }
        )

    return told


def _events_asset(domain: Domain) -> dg.AssetsDefinition:
    @dg.asset(
        key=["events", "predictions"],
        description=(
            "Every prediction that was served: request, features and their times, score, version, arm, caller. "
            "Closed segments of the serving processes, each published once."
        ),
        owners=[domain.owner],
        group_name=GROUP,
        kinds={"iceberg"},
        tags={"stage": "ingestion"},
        pool=POOL,
    )
    def prediction_events(lakehouse: LakehouseResource) -> dg.MaterializeResult:
        done = publish_events(lakehouse.open(), get_settings().events)
        stored = lakehouse.open().load(TABLE)
        total = stored.scan().count() if stored is not None else 0
        return dg.MaterializeResult(
            metadata={
                "segments": done.segments,
                "events": done.events,
                "doubled": done.doubled,
                "dagster/row_count": total,
            }
        )

    return prediction_events


def _record_published(context: dg.AssetExecutionContext, outcomes: list[Published]) -> None:
    """Record what a run that fails has published; the other partitions stay as they were."""
    for outcome in outcomes:
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                metadata=_metadata(outcome),
                partition=outcome.period.isoformat() if outcome.period else None,
            )
        )


def _log(context: dg.AssetExecutionContext, outcome: Published) -> None:
    counts = ", ".join(
        f"{k} {outcome.report[k]}" for k in ("received", "published", "quarantined", "repaired", "noted")
    )
    period = f" {outcome.period}" if outcome.period else ""
    context.log.info(f"{outcome.source}{period}: {outcome.status}; {counts}")


def _declared_metadata(source: Source) -> dict[str, Any]:
    return {
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(c.name, c.type, description=c.description) for c in source.columns]
        ),
        "contract": dg.MetadataValue.table(
            [dg.TableRecord({"rule": r.name, "action": r.action, "promise": r.description}) for r in source.rules]
            or [dg.TableRecord({"rule": "key_unique", "action": "quarantine", "promise": "the key names one row"})]
        ),
        "key": ", ".join(source.key),
        "rows_per_drop": f"{source.rows.min} to {source.rows.max}",
    }


def _metadata(outcome: Published) -> dict[str, Any]:
    report = outcome.report
    metadata: dict[str, Any] = {
        "status": outcome.status,
        "file": report["file"],
        "drop": report["drop"],
        "received": report["received"],
        "published": report["published"],
        "quarantined": report["quarantined"],
        "repaired": report["repaired"],
        "noted": report["noted"],
        "dagster/partition_row_count" if outcome.period else "dagster/row_count": report["published"],
        "snapshot": str(outcome.snapshot_id),
        "rules": dg.MetadataValue.table(
            [dg.TableRecord({k: rule[k] for k in ("rule", "action", "failing", "share")}) for rule in report["rules"]]
        ),
    }
    if report["extra_columns"]:
        metadata["extra_columns"] = ", ".join(report["extra_columns"])
    if change := report["correction"]:
        by_column = ", ".join(f"{c} in {n}" for c, n in change["by_column"].items()) or "no value"
        metadata["correction"] = dg.MetadataValue.md(
            f"**{change['added']}** rows added, **{change['removed']}** removed, **{change['changed']}** changed "
            f"({by_column})\n\n" + "\n".join(f"- `{e}`" for e in change["examples"])
        )
    return metadata
