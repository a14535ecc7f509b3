"""The dbt models as assets, their tests as checks; one run builds its months on one copy."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg

from assets.automation import follow_upstream
from assets.declared import fingerprint
from assets.domains import Domain, following
from assets.ingestion.assets import source_key
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.publish import raw
from assets.ingestion.resources import LakehouseResource
from assets.partitions import partitioned, run_periods
from assets.warehouse.build import Build, BuildFailed, publish, stale
from assets.warehouse.ledger import NodeResult, last_results, row_counts
from assets.warehouse.manifest import Manifest, Model, load_manifest
from assets.warehouse.metrics import metrics_asset
from assets.warehouse.resources import WarehouseResource
from serving.errors import ClearwayError
from serving.settings import get_settings

GROUP = "warehouse"
POOL = "warehouse"


def definitions(domain: Domain) -> dg.Definitions:
    """The assets of the domain's dbt project."""
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    metrics = metrics_asset(domain, manifest)
    return dg.Definitions(assets=[_models_asset(domain, manifest), *([metrics] if metrics else [])])


def model_key(name: str) -> dg.AssetKey:
    return dg.AssetKey([name])


def _models_asset(domain: Domain, manifest: Manifest) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="warehouse",
        specs=[_spec(domain, model) for model in manifest.models.values()],
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
                yield from _checks(context, manifest, error.results)
                raise dg.Failure(description=str(error), allow_retries=False) from error
        else:
            context.log.info("Nothing to build: every month was built from the same snapshots by the same models.")
            results = last_results(warehouse.file)
        counts = row_counts(warehouse.file, manifest, list(selected))
        for name in _in_order(manifest, selected):
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
        yield from _checks(context, manifest, results)

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


def _spec(domain: Domain, model: Model) -> dg.AssetSpec:
    return dg.AssetSpec(
        model_key(model.name),
        deps=[*(source_key(s) for s in model.sources), *(model_key(m) for m in model.models)],
        description=model.description or f"dbt model {model.name}",
        group_name=GROUP,
        automation_condition=follow_upstream(),
        owners=list(model.owners) or [domain.owner],
        kinds={"dbt", "duckdb", "view" if model.materialized == "view" else "table"},
        tags={"stage": "warehouse", "layer": model.layer, **{f"dbt/{t}": "" for t in model.tags}},
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(name, str(c.get("data_type") or "unknown"), description=c.get("description"))
                    for name, c in model.columns.items()
                ]
            ),
            "dagster/table_name": f"{model.schema}.{model.name}",
            "dbt_file": model.path,
            "materialized": model.materialized,
        },
    )


def _in_order(manifest: Manifest, selected: tuple[str, ...]) -> list[str]:
    """Selected models, each after those that it reads."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name not in ordered:
            for before in manifest.models[name].models:
                visit(before)
            ordered.append(name)

    for name in selected:
        visit(name)
    return [n for n in ordered if n in selected]


def _checks(
    context: dg.AssetExecutionContext, manifest: Manifest, results: dict[str, NodeResult]
) -> Iterator[dg.AssetCheckResult]:
    for test in manifest.tests.values():
        key = dg.AssetCheckKey(model_key(test.model), test.name)
        result = results.get(test.unique_id)
        if key not in context.selected_asset_check_keys or result is None or result.status == "skipped":
            continue
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.status == "pass",
            severity=dg.AssetCheckSeverity.WARN if test.severity == "warn" else dg.AssetCheckSeverity.ERROR,
            metadata={
                "failing_rows": result.failures or 0,
                "status": result.status,
                "seconds": round(result.seconds, 3),
            },
        )
