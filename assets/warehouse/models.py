"""How dbt models and their tests show in Dagster, whoever builds them."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from assets.automation import follow_upstream
from assets.domains import Domain
from assets.ingestion.assets import source_key
from assets.warehouse.ledger import NodeResult
from assets.warehouse.manifest import Model, Test


def model_key(name: str) -> dg.AssetKey:
    return dg.AssetKey([name])


def model_spec(domain: Domain, model: Model, group: str) -> dg.AssetSpec:
    """The asset of a dbt model."""
    monthly = [source_key(name) for name, source in sorted(domain.sources.items()) if source.partitioned]
    without_months = not model.models and not any(domain.sources[s].partitioned for s in model.sources)
    return dg.AssetSpec(
        model_key(model.name),
        deps=[*(source_key(s) for s in model.sources), *(model_key(m) for m in model.models)],
        description=model.description or f"dbt model {model.name}",
        group_name=group,
        automation_condition=follow_upstream(monthly if without_months else ()),
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


def in_order(models: Mapping[str, Model], selected: Sequence[str]) -> list[str]:
    """Selected models, each after those that it reads."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name not in ordered:
            for before in models[name].models:
                if before in models:
                    visit(before)
            ordered.append(name)

    for name in selected:
        visit(name)
    return [n for n in ordered if n in selected]


def check_results(
    context: dg.AssetExecutionContext, tests: Mapping[str, Test], results: dict[str, NodeResult]
) -> Iterator[dg.AssetCheckResult]:
    """What dbt says of the tests that the run is to show."""
    for test in tests.values():
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
