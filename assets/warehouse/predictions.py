"""The mart of served predictions and its metrics: built of the events, apart from the months of the other models."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.declared import fingerprint
from assets.domains import Domain
from assets.ingestion.events import TABLE
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.resources import LakehouseResource
from assets.metadata import picture, short, table
from assets.warehouse.build import Build, BuildFailed, publish, stale
from assets.warehouse.ledger import build_keys, last_results, row_counts
from assets.warehouse.manifest import Manifest
from assets.warehouse.metrics import metric_key, metric_spec
from assets.warehouse.models import check_results, in_order, model_key, model_spec
from assets.warehouse.resources import WarehouseResource
from serving.errors import ClearwayError
from serving.semantics.catalogue import Metric, load_catalogue

GROUP = "monitoring"
# Of steps that no decision waits for: in a run with a review they come after it.
LAST = {"dagster/priority": "-1"}
EVENTS = dg.AssetKey(["events", "predictions"])


def served_metrics(manifest: Manifest) -> dict[str, Metric]:
    """Metrics of what was served, by name."""
    found = load_catalogue(manifest.folder / "semantic_manifest.json").metrics
    return {name: metric for name, metric in found.items() if manifest.served.keys() & set(metric.models)}


def plan(domain: Domain, manifest: Manifest, lakehouse: Lakehouse, warehouse: WarehouseResource) -> Build:
    """What a build of the predictions would read; its key changes with the events and with what they are joined to.

    Raises:
        ClearwayError: the warehouse was never built.
    """
    if not warehouse.file.exists():
        raise ClearwayError(
            f"{warehouse.file}: there is no published warehouse", todo="materialize the warehouse of a month first."
        )
    events = lakehouse.load(TABLE)
    files = [] if events is None else sorted(task.file.file_path for task in events.scan().plan_files())
    snapshot = events.current_snapshot() if events is not None else None
    first, until = domain.periods[0], domain.declared.partitions.end
    upstream = sorted({name for model in manifest.served.values() for name in model.models if name in manifest.models})
    built = build_keys(warehouse.file, upstream, until)
    key = fingerprint([manifest.fingerprint, str(snapshot.snapshot_id if snapshot else None), built])
    return Build(tuple(sorted(manifest.served)), (first,), until, {}, {first: key}, events=tuple(files))


def predictions_asset(domain: Domain, manifest: Manifest) -> dg.AssetsDefinition:
    """One multi-asset for the served models, so that they are built on one copy of the warehouse."""

    @dg.multi_asset(
        name="predictions",
        specs=[
            model_spec(domain, model, GROUP)
            .merge_attributes(deps=[EVENTS])
            .replace_attributes(automation_condition=None)
            for model in manifest.served.values()
        ],
        check_specs=[
            dg.AssetCheckSpec(
                test.name, asset=model_key(test.model), blocking=test.severity == "error", description=test.description
            )
            for test in manifest.served_tests.values()
        ],
        pool="warehouse",
        retry_policy=dg.RetryPolicy(max_retries=1, delay=2),
    )
    def served_models(
        context: dg.AssetExecutionContext, lakehouse: LakehouseResource, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        build = plan(domain, manifest, lakehouse.open(), warehouse)
        todo = stale(warehouse.file, build)
        tests = manifest.served_tests
        if todo:
            try:
                run_id = context.run.run_id
                results = publish(build, manifest, domain.dbt_project, warehouse.path, run_id, context.log.info)
            except BuildFailed as error:
                yield from check_results(context, tests, error.results)
                raise dg.Failure(description=str(error), allow_retries=False) from error
        else:
            context.log.info("Nothing to build: no event came since, and nothing that they are joined to has changed.")
            results = last_results(warehouse.file)
        counts = row_counts(warehouse.file, manifest, list(build.select))
        for name in in_order(manifest.served, build.select):
            metadata: dict[str, Any] = {"status": "built" if todo else "unchanged"}
            if name in counts:
                metadata["dagster/row_count"] = counts[name][0]
            yield dg.MaterializeResult(asset_key=model_key(name), metadata=metadata)
        yield from check_results(context, tests, results)

    return served_models


def prediction_metrics_asset(domain: Domain, manifest: Manifest) -> dg.AssetsDefinition:
    """Metrics of what was served, by version and by day."""
    metrics = served_metrics(manifest)

    @dg.multi_asset(
        name="prediction_metrics",
        specs=[
            metric_spec(domain, manifest, metric, GROUP).replace_attributes(automation_condition=None)
            for metric in metrics.values()
        ],
        can_subset=True,
        op_tags=LAST,
    )
    def values(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[dg.MaterializeResult]:
        from assets.plots import line
        from serving.semantics.engine import MetricEngine
        from serving.semantics.query import MetricQuery

        engine = MetricEngine(manifest.folder / "semantic_manifest.json", warehouse.file)
        shared = {d.name for d in engine.catalogue().shared_dimensions(tuple(metrics)).values()}
        by = tuple(name for name in ("model", "model_version", "arm") if name in shared)
        try:
            for metric in metrics.values():
                if metric_key(metric.name) not in context.selected_asset_keys:
                    continue
                versions = engine.query(MetricQuery(metrics=(metric.name,), group_by=by))
                days = engine.query(MetricQuery(metrics=(metric.name,), grain="day"))
                known = [(str(day), value) for day, value in days.rows if day is not None and value is not None]
                metadata: dict[str, Any] = {}
                if known:
                    drawn = line(metric.label, [d for d, _ in known], {metric.label: [v for _, v in known]})
                    metadata["plot"] = picture(drawn, f"{metric.label} by day")
                rows = [dict(zip(versions.columns, map(short, row), strict=True)) for row in versions.rows]
                metadata |= {"by_version": table(rows), "sql": dg.MetadataValue.md(f"```sql\n{versions.sql}\n```")}
                yield dg.MaterializeResult(asset_key=metric_key(metric.name), metadata=metadata)
        finally:
            engine.close()

    return values
