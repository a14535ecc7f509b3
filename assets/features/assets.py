"""Feature tables, training sets and the online window as assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.automation import follow_upstream
from assets.declared import fingerprint
from assets.domains import Domain
from assets.features.offline import export, feature_marts
from assets.features.pushed import pushed_asset
from assets.features.resources import FeaturesResource
from assets.features.store import repo_fingerprint
from assets.metadata import table
from assets.partitions import partitioned, run_periods
from assets.training.spec import ModelDeclaration
from assets.warehouse.assets import model_key
from assets.warehouse.ledger import build_keys, newest_period
from assets.warehouse.manifest import Manifest, load_manifest
from assets.warehouse.resources import WarehouseResource
from serving import clock
from serving.settings import get_settings

GROUP = "features"
ONLINE = dg.AssetKey(["features", "online_window"])
PARITY = "parity"


def definitions(domain: Domain) -> dg.Definitions:
    """The feature tables, the training sets of all models, and the online window."""
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    marts = feature_marts(manifest)
    return dg.Definitions(
        assets=[
            *(_table_asset(domain, manifest, mart) for mart in marts),
            *(_training_set_asset(domain, manifest, model, marts) for model in domain.models.values()),
            *([_online_asset(domain, manifest, marts)] if marts else []),
            *([pushed_asset(domain, manifest)] if marts and any(s.feed for s in domain.sources.values()) else []),
        ]
    )


def table_key(mart: str) -> dg.AssetKey:
    return dg.AssetKey(["features", mart])


def training_set_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["training_sets", model])


def _table_asset(domain: Domain, manifest: Manifest, mart: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=table_key(mart),
        deps=[model_key(mart)],
        description=f"{manifest.models[mart].description} Exported to parquet, a file a month, for offline joins.",
        owners=[domain.owner],
        group_name=GROUP,
        kinds={"feast", "parquet"},
        tags={"stage": "features"},
        automation_condition=follow_upstream(),
        **partitioned(domain),
    )
    def feature_table(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, features: FeaturesResource
    ) -> dg.MaterializeResult:
        periods = run_periods(context)
        done = export(domain, manifest, warehouse.file, features.path, mart, periods)
        for period in periods:
            context.add_asset_metadata(
                {"dagster/partition_row_count": done.rows.get(period, 0)}, partition_key=period.isoformat()
            )
        return dg.MaterializeResult(
            metadata={"newest_value": str(done.newest), "rows_written": sum(done.rows.values())}
        )

    return feature_table


def _inputs(domain: Domain, warehouse: WarehouseResource, models: list[str], until: Any) -> dict[str, str]:
    """What feature data depends on: the builds of its marts, and the feature definitions."""
    return {**build_keys(warehouse.file, models, until), "feature_repo": repo_fingerprint(domain.feature_repo)}


def _training_set_asset(
    domain: Domain, manifest: Manifest, model: ModelDeclaration, marts: list[str]
) -> dg.AssetsDefinition:
    @dg.asset(
        key=training_set_key(model.name),
        deps=[model_key(model.examples.model), *(table_key(m) for m in marts)],
        description=(
            f"What {model.name} learns from ({model.train.start} to {model.train.end}) and is judged on "
            f"({model.evaluate.start} to {model.evaluate.end}): labelled examples joined, by {model.feature_service}, "
            "with the features as they were known when each prediction would have been asked for."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"feast", "parquet"},
        tags={"stage": "features"},
    )
    def training_set(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, features: FeaturesResource
    ) -> dg.MaterializeResult:
        from assets.features.sets import build_both
        from assets.training.window import DECISION_TAG, decided

        window = decided(model, get_settings(), context.run.tags.get(DECISION_TAG))
        learn, later = build_both(domain, manifest, model, warehouse.file, features, clock.now(), window)
        shown = [{k: v for k, v in s.facts.items() if k not in ("missing_share", "inputs")} for s in (learn, later)]
        missing = [{"feature": k, "missing_share": v} for k, v in later.facts["missing_share"].items()]
        return dg.MaterializeResult(
            metadata={
                "sets": table(shown),
                "missing_by_feature": table(missing),
                "dagster/row_count": learn.facts["rows"] + later.facts["rows"],
                "files": f"{learn.path.name}, {later.path.name}",
                "windows": f"decided by {window.decision}" if window else "as declared",
            }
        )

    return training_set


def _online_asset(domain: Domain, manifest: Manifest, marts: list[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=ONLINE,
        deps=[table_key(m) for m in marts],
        description=(
            "The features that servers read: the latest values at the end of the newest month, materialised aside, "
            "compared with the offline features for the same entities, and only then switched to."
        ),
        owners=[domain.owner],
        group_name=GROUP,
        kinds={"feast", "sqlite"},
        tags={"stage": "features"},
        automation_condition=follow_upstream(),
        check_specs=[
            dg.AssetCheckSpec(
                PARITY,
                asset=ONLINE,
                blocking=True,
                description="Online values equal the offline ones at the same instant.",
            )
        ],
        pool="online_store",
    )
    def online_window(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, features: FeaturesResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from assets.features.online import ParityFailed
        from assets.features.sets import publish_window

        newest = newest_period(warehouse.file, marts)
        if newest is None:
            raise dg.Failure("No month has all feature marts; materialize the warehouse first.", allow_retries=False)
        end = domain.bounds(newest)[1]
        as_of = min(end, clock.now())
        key = fingerprint([_inputs(domain, warehouse, marts, as_of.date()), as_of.isoformat()])
        try:
            window, parity = publish_window(domain, manifest, warehouse.file, features, as_of, key)
        except ParityFailed as error:
            yield dg.AssetCheckResult(
                passed=False, check_name=PARITY, metadata={"differing": str(error.parity.differing)}
            )
            raise dg.Failure(description=str(error), allow_retries=False) from error
        yield dg.MaterializeResult(
            metadata={
                "window": window["window"],
                "as_of": window["as_of"],
                "entities_compared": parity["entities"],
                "values_compared": parity["values"],
                "status": parity["status"],
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=True, check_name=PARITY, metadata={k: parity[k] for k in ("entities", "values")}
                )
            ],
        )

    return online_window
