"""The dbt models as assets, their tests as checks; one run builds its months on one copy."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg

from assets.declared import fingerprint
from assets.domains import Domain, following
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.publish import raw
from assets.ingestion.resources import LakehouseResource
from assets.partitions import partitioned, run_periods
from assets.warehouse.build import Build, BuildFailed, publish, stale
from assets.warehouse.ledger import last_results, row_counts
from assets.warehouse.manifest import Manifest, load_manifest
from assets.warehouse.metrics import metrics_asset
from assets.warehouse.models import check_results, in_order, model_key, model_spec
from assets.warehouse.predictions import prediction_metrics_asset, predictions_asset, served_metrics
from assets.warehouse.resources import WarehouseResource
from serving.errors import ClearwayError
from serving.settings import get_settings

GROUP = "warehouse"
POOL = "warehouse"


def definitions(domain: Domain) -> dg.Definitions:
    """The assets of the domain's dbt project."""
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    metrics = metrics_asset(domain, manifest)
    served = [predictions_asset(domain, manifest)] if manifest.served else []
    if served_metrics(manifest):
        served.append(prediction_metrics_asset(domain, manifest))
    return dg.Definitions(assets=[_models_asset(domain, manifest), *([metrics] if metrics else []), *served])


def _models_asset(domain: Domain, manifest: Manifest) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="warehouse",
        specs=[model_spec(domain, model, GROUP) for model in manifest.models.values()],
        check_specs=[
            dg.AssetCheckSpec(
                test.name, asset=model_key(test.model), blocking=test.severity == "error", description=test.description
            )
            for test in manifest.tests.values()
        ],
        can_subset=True,
        pool=POOL,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=2),
        **partitioned(domain),
    )
    def warehouse_models(
        context: dg.AssetExecutionContext, lakehouse: LakehouseResource, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        selected = tuple(sorted(key.path[-1] for key in context.selected_asset_keys))
        periods = run_periods(context)
        build = plan(domain, manifest, lakehouse.open(), selected, periods)
        todo = stale(warehouse.file, build)
        if todo:
            months = tuple(p for p in periods if todo[0] <= p <= todo[-1])
            build = replace(build, periods=months, until=following(months[-1]))
            try:
                results = publish(
                    build, manifest, domain.dbt_project, warehouse.path, context.run.run_id, context.log.info
                )
            except BuildFailed as error:
                # The failed tests are shown; nothing is materialized, since nothing was published.
                yield from check_results(context, manifest.tests, error.results)
                raise dg.Failure(description=str(error), allow_retries=False) from error
        else:
            context.log.info("Nothing to build: every month was built from the same snapshots by the same models.")
            results = last_results(warehouse.file)
        counts = row_counts(warehouse.file, manifest, list(selected))
        for name in in_order(manifest.models, selected):
            result = results.get(manifest.models[name].unique_id)
            total, months_of = counts.get(name, (None, {}))
            metadata: dict[str, Any] = {"status": "built" if todo else "unchanged"}
            if result is not None:
                metadata["seconds"] = round(result.seconds, 3)
            if total is not None:
                metadata["dagster/row_count"] = total
            for period in periods:
                if period.isoformat() in months_of:
                    context.add_asset_metadata(
                        {"dagster/partition_row_count": months_of[period.isoformat()]},
                        asset_key=model_key(name),
                        partition_key=period.isoformat(),
                    )
            yield dg.MaterializeResult(asset_key=model_key(name), metadata=metadata)
        yield from check_results(context, manifest.tests, results)

    return warehouse_models


def plan(
    domain: Domain, manifest: Manifest, lakehouse: Lakehouse, selected: tuple[str, ...], periods: list[date]
) -> Build:
    """What a build of these months would read, and the key of each month.

    Raises:
        ClearwayError: a source that the project reads is not published for a month.
    """
    files: dict[str, list[str]] = {}
    keys: dict[date, list[str]] = {p: [manifest.fingerprint] for p in periods}
    snapshots: dict[date, dict[str, str]] = {p: {} for p in periods}
    removals: list[tuple[str, date, str]] = []
    read = sorted({s for model in manifest.models.values() for s in model.sources})
    for name in read:
        ledger = lakehouse.ledger(raw(name))
        is_partitioned = domain.sources[name].partitioned
        missing = [p for p in periods if (p if is_partitioned else None) not in ledger]
        if missing:
            raise ClearwayError(
                f"warehouse, partition {', '.join(map(str, missing))}: source {name} is not published"
                f"{' for it' if is_partitioned else ''}.",
                untouched="the published warehouse; nothing was built.",
                todo=f"materialize raw/{name} first.",
            )
        for period in periods:
            entry = ledger[period if is_partitioned else None]
            keys[period].append(entry.key)
            snapshots[period][name] = str(entry.snapshot_id)
        removals += [(name, p, e.report["removed_at"]) for p, e in ledger.items() if p and e.report.get("removed_at")]
        table = lakehouse.load(raw(name))
        assert table is not None
        tasks = list(table.scan().plan_files())
        if any(task.delete_files for task in tasks):
            raise ClearwayError(
                f"{raw(name)}: the snapshot has delete files, which reading its parquet files would ignore.",
                untouched="the published warehouse; nothing was built.",
                todo="write the table by overwriting partitions, as ingestion does, or compact it.",
            )
        files[name] = sorted(task.file.file_path for task in tasks)
    names = {p: fingerprint(k) for p, k in keys.items()}
    return Build(selected, tuple(periods), following(periods[-1]), files, names, snapshots, tuple(removals))
