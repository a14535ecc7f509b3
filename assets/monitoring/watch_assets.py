"""Assets of the watch beside drift and reviews: training-serving skew of a model, and what runs cost."""

import dagster as dg

from assets.domains import Domain
from assets.ingestion.resources import LakehouseResource
from assets.metadata import shown, table
from assets.training.assets import version_key
from assets.training.resources import RegistryResource
from assets.training.spec import ModelDeclaration
from assets.warehouse.predictions import EVENTS, GROUP, LAST


def skew_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["skew", model])


def skew_asset(domain: Domain, model: ModelDeclaration) -> dg.AssetsDefinition:
    """What a model was given, beside what training would join."""

    @dg.asset(
        key=skew_key(model.name),
        deps=[EVENTS, version_key(model.name)],
        description=(
            f"Training-serving skew of {model.name}: each feature as its stable version was given it, beside what "
            "training would join for the same request, over a sample of the newest month."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"feast"},
        tags={"stage": "monitoring"},
        op_tags=LAST,
        pool="reports",
    )
    def feature_skew(lakehouse: LakehouseResource, registry: RegistryResource) -> dg.MaterializeResult:
        from assets.monitoring.feature_skew import skew

        done = skew(domain, model, lakehouse.open(), registry.settings())
        if not done.features:
            told = "nothing was served with features yet" if done.version else "no version was released yet"
            return dg.MaterializeResult(metadata={"status": told, "version": done.version or "none"})
        worst = sorted(done.features, key=lambda f: -f.differing)
        return dg.MaterializeResult(
            metadata={
                "version": done.version or "none",
                "month": done.month or "none",
                "compared": done.features[0].compared,
                "differing_share": float(sum(f.differing for f in done.features) / len(done.features)),
                "by_feature": table([shown(vars(f)) for f in worst]),
            }
        )

    return feature_skew


def costs_asset(domain: Domain) -> dg.AssetsDefinition:
    """Seconds and prices of the newest runs."""

    @dg.asset(
        key=["operations", "costs"],
        description=(
            "What the newest runs cost, by step, by job, by run and by registered version: seconds from Dagster's "
            "record, at the hour's price in domain.yaml."
        ),
        owners=[domain.owner],
        group_name=GROUP,
        tags={"stage": "monitoring"},
        op_tags=LAST,
    )
    def costs(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from assets.monitoring.costs import by_job, by_run, by_step, finished, of_versions

        runs, hour = finished(context.instance), domain.declared.hour_price
        made = {}
        for model in domain.models:
            wanted = dg.AssetRecordsFilter(asset_key=version_key(model))
            for record in reversed(context.instance.fetch_materializations(wanted, limit=50).records):
                found = record.asset_materialization
                if found is not None and found.metadata["status"].value == "trained":
                    made[f"{model} {found.metadata['version'].value}"] = record.run_id
        tables = {"by_step": by_step(runs, hour), "by_job": by_job(runs, hour), "by_run": by_run(runs, hour),
                  "by_version": of_versions(runs, made, hour)}  # fmt: skip
        return dg.MaterializeResult(
            metadata={
                "runs": len(runs),
                "seconds": sum(run.seconds for run in runs),
                "hour_price": hour,
                **{name: table([shown(vars(s)) for s in found[:40]]) for name, found in tables.items() if found},
            }
        )

    return costs
