"""The metrics of the semantic layer as assets, with lineage to the marts and a value for each month."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.automation import follow_upstream
from assets.domains import Domain, following
from assets.metadata import picture, short, shown, table
from assets.partitions import partitioned, run_periods
from assets.warehouse.anomalies import WEEKS, unusual
from assets.warehouse.manifest import Manifest
from assets.warehouse.resources import WarehouseResource
from serving import clock
from serving.semantics.catalogue import Metric, load_catalogue

if TYPE_CHECKING:
    from serving.semantics.engine import MetricEngine

GROUP = "metrics"
COMPUTED, USUAL = "has_value", "usual"


def metric_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["metrics", name])


def metrics_asset(domain: Domain, manifest: Manifest) -> dg.AssetsDefinition | None:
    """One multi-asset for all metrics of the project, since MetricFlow is set up once; None when there is no metric."""
    file = manifest.folder / "semantic_manifest.json"
    every = load_catalogue(file).metrics
    found = {name: metric for name, metric in every.items() if not manifest.served.keys() & set(metric.models)}
    # A metric comes after those that it is made of.
    metrics = dict(sorted(found.items(), key=lambda item: (_depth(item[1], found), item[0])))
    if not metrics:
        return None

    @dg.multi_asset(
        name="metrics",
        specs=[metric_spec(domain, manifest, metric, GROUP) for metric in metrics.values()],
        check_specs=[
            spec
            for name in metrics
            for spec in (
                dg.AssetCheckSpec(
                    COMPUTED, asset=metric_key(name), blocking=True, description="Every month of the run has a value."
                ),
                dg.AssetCheckSpec(
                    USUAL, asset=metric_key(name), description="Days are like the same weekdays of the weeks before."
                ),
            )
        ],
        can_subset=True,
        **partitioned(domain),
    )
    def metric_values(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from assets.plots import line
        from serving.semantics.engine import MetricEngine
        from serving.semantics.query import MetricQuery

        periods = [p.isoformat() for p in run_periods(context)]
        engine = MetricEngine(file, warehouse.file)
        try:
            for metric in (m for m in metrics.values() if metric_key(m.name) in context.selected_asset_keys):
                key = metric_key(metric.name)
                query = MetricQuery(
                    metrics=(metric.name,),
                    grain="month",
                    since=domain.declared.partitions.start,
                    until=following(run_periods(context)[-1]),
                )
                answer = engine.query(query)
                values = {str(row[0])[:10]: row[1] for row in answer.rows}
                for period in periods:
                    if values.get(period) is not None:
                        context.add_asset_metadata({"value": values[period]}, asset_key=key, partition_key=period)
                months = sorted(values)
                missing = [p for p in periods if values.get(p) is None]
                yield dg.MaterializeResult(
                    asset_key=key,
                    metadata={
                        "plot": picture(
                            line(metric.label, [m[:7] for m in months], {metric.label: [values[m] for m in months]}),
                            f"{metric.label} by month",
                        ),
                        "by_month": table([{"month": m[:7], metric.name: short(values[m])} for m in months]),
                        "sql": dg.MetadataValue.md(f"```sql\n{answer.sql}\n```"),
                    },
                    check_results=[
                        dg.AssetCheckResult(
                            passed=not missing,
                            asset_key=key,
                            check_name=COMPUTED,
                            metadata={"months": len(periods), "without_a_value": ", ".join(missing) or "none"},
                        ),
                        _usual(engine, metric, run_periods(context)),
                    ],
                )
        finally:
            engine.close()

    return metric_values


def _usual(engine: "MetricEngine", metric: Metric, months: list[date]) -> dg.AssetCheckResult:
    """Whether the days of these months are like the same weekdays before them."""
    from serving.semantics.query import MetricQuery

    since, until = months[0], following(months[-1])
    rows = engine.query(
        MetricQuery(metrics=(metric.name,), grain="day", since=since - timedelta(weeks=WEEKS), until=until)
    ).rows
    values = {date.fromisoformat(str(day)[:10]): float(value) for day, value in rows if value is not None}
    found = unusual(values, since, min(until, clock.now().date()))
    worst = sorted(found, key=lambda u: -abs(u.deviations))[:10]
    return dg.AssetCheckResult(
        passed=not found,
        asset_key=metric_key(metric.name),
        check_name=USUAL,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "days": len([d for d in values if since <= d < until]),
            "unusual": len(found),
            **({"worst": table([shown(vars(u)) for u in worst])} if worst else {}),
        },
    )


def _depth(metric: Metric, found: dict[str, Metric]) -> int:
    return 1 + max((_depth(found[name], found) for name in metric.inputs if name in found), default=0)


def metric_spec(domain: Domain, manifest: Manifest, metric: Metric, group: str) -> dg.AssetSpec:
    """The asset of a metric."""
    metadata: dict[str, Any] = {
        "kind": metric.kind,
        "dimensions": ", ".join(sorted(d.name for d in metric.dimensions.values())) or "none",
    }
    if metric.inputs:
        metadata["made_of"] = ", ".join(metric.inputs)
    return dg.AssetSpec(
        metric_key(metric.name),
        deps=[
            *(dg.AssetKey([m]) for m in metric.models if m in manifest.models or m in manifest.served),
            *(metric_key(m) for m in metric.inputs),
        ],
        description=f"{metric.label}. {metric.description}",
        group_name=group,
        owners=[domain.owner],
        kinds={"dbt", "metricflow"},
        tags={"stage": "metrics", "metric/kind": metric.kind},
        metadata=metadata,
        automation_condition=follow_upstream(),
    )
