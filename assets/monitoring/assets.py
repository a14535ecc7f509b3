"""Assets of a declared model's watch: its drift month by month, here; its reviews, in ``review_assets``."""

from datetime import date
from typing import Any

import dagster as dg

from assets.domains import Domain
from assets.features.resources import FeaturesResource
from assets.ingestion.resources import LakehouseResource
from assets.metadata import picture, shown, table
from assets.monitoring.reports import Monitored, MonthReport, monitor
from assets.monitoring.review_assets import history_asset, review_asset
from assets.monitoring.served import prediction_mart
from assets.monitoring.watch_assets import costs_asset, skew_asset
from assets.training.assets import version_key
from assets.training.resources import RegistryResource
from assets.training.spec import ModelDeclaration
from assets.warehouse.manifest import Manifest, load_manifest
from assets.warehouse.models import model_key
from assets.warehouse.predictions import EVENTS, GROUP
from assets.warehouse.resources import WarehouseResource
from serving.settings import get_settings

REPORTED = "reported"


def definitions(domain: Domain) -> dg.Definitions:
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    models = domain.models.values()
    return dg.Definitions(
        assets=[
            *(_drift_asset(domain, manifest, model) for model in models),
            *(skew_asset(domain, model) for model in models),
            costs_asset(domain),
            *(review_asset(domain, manifest, model, _reviewed(manifest, model)) for model in models),
            *(history_asset(domain, model) for model in models),
        ]
    )


def _reviewed(manifest: Manifest, model: ModelDeclaration) -> list[dg.AssetKey]:
    """What a review reads: what was served and its labels, the report of the month, the version."""
    mart = prediction_mart(manifest, model)
    return [drift_key(model.name), version_key(model.name), *([model_key(mart.name)] if mart else [])]


def _reviewed_period(context: dg.AssetExecutionContext) -> date | None:
    """The newest period that the run reviews; None when it reviews none."""
    tags = context.run.tags
    named = tags.get("dagster/asset_partition_range_end") or tags.get("dagster/partition")
    return date.fromisoformat(named) if named else None


def drift_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["drift", model])


def _drift_asset(domain: Domain, manifest: Manifest, model: ModelDeclaration) -> dg.AssetsDefinition:
    mart = prediction_mart(manifest, model)

    @dg.asset(
        key=drift_key(model.name),
        deps=[EVENTS, version_key(model.name), *([model_key(mart.name)] if mart else [])],
        description=(
            f"{model.title} Drift of inputs, score and label, data quality and figures of the stable version, by month "
            "of the prediction time, beside a sample of what it was trained on. It explains, and triggers nothing."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"evidently"},
        tags={"stage": "monitoring"},
        pool="reports",
        metadata={"monitoring": model.monitoring.model_dump(mode="json")},
        check_specs=[
            dg.AssetCheckSpec(
                REPORTED, asset=drift_key(model.name), description="Every month that was served has its report."
            )
        ],
    )
    def reports(
        context: dg.AssetExecutionContext,
        lakehouse: LakehouseResource,
        warehouse: WarehouseResource,
        features: FeaturesResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult:
        done = monitor(
            domain,
            manifest,
            model,
            lakehouse.open(),
            warehouse.file,
            features.training_sets,
            registry.settings(),
            context.log.info,
            _reviewed_period(context),
        )
        problems = [{"month": month, "problem": problem} for month, problem in sorted(done.problems.items())]
        return dg.MaterializeResult(
            metadata=described(done),
            check_results=[
                dg.AssetCheckResult(
                    passed=not problems,
                    check_name=REPORTED,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"without_report": table(problems)} if problems else {},
                )
            ],
        )

    return reports


def described(done: Monitored) -> dict[str, Any]:
    """Metadata of an asset: tables, a plot and the pages."""
    if done.version is None:
        return {"status": "no version was released yet, so nothing is compared", "months": 0}
    if not done.months:
        return {
            "status": "no report could be made; see its check"
            if done.problems
            else "no prediction of the stable version was published yet, so nothing is compared",
            "version": done.version,
            "months": 0,
        }
    newest = done.months[-1]
    return {
        "status": f"{sum(m.new for m in done.months)} of {len(done.months)} reports made, the others were there",
        "version": done.version,
        "months": len(done.months),
        "plot": picture(_plot(done), "drifted share of the inputs and log loss by month"),
        "by_month": table([_row(month) for month in done.months]),
        "newest_month": newest.month,
        "newest_constant": ", ".join(newest.facts["quality"]["constant_current"]) or "none",
        "newest_without_values": ", ".join(newest.facts["without_values"]) or "none",
        "newest_columns": table(_columns(newest)),
        **{f"report_{m.month}": dg.MetadataValue.path(m.path) for m in done.months},
    }


def _row(month: MonthReport) -> dict[str, Any]:
    facts = month.facts
    largest = max(facts["features"], key=lambda column: column["psi"])
    current, reference = facts["current"] or {}, facts["reference"] or {}
    quality = facts["quality"]
    row = {
        "month": month.month,
        "served": facts["rows"],
        "compared": facts["compared"],
        "labelled": facts["labelled"],
        "drifted": sum(column["drifted"] for column in facts["features"]),
        "of": len(facts["features"]),
        "largest_psi": largest["psi"],
        "largest_psi_of": largest["column"],
        "score_drift": facts["score"]["statistic"],
        "score_drifted": facts["score"]["drifted"],
        "label_drift": facts["label"]["statistic"] if facts["label"] else None,
        "positive_share": current.get("positive_share"),
        "positive_share_reference": reference.get("positive_share"),
        "log_loss": current.get("log_loss"),
        "log_loss_reference": reference.get("log_loss"),
        "auc": current.get("auc"),
        "auc_reference": reference.get("auc"),
        "accuracy": current.get("accuracy"),
        "missing": quality["missing_current"],
        "missing_reference": quality["missing_reference"],
        "constant": len(quality["constant_current"]),
        "without_values": len(facts["without_values"]),
    }
    return shown(row)


def _columns(month: MonthReport) -> list[dict[str, Any]]:
    facts = month.facts
    columns = [*facts["features"], facts["score"], *([facts["label"]] if facts["label"] else [])]
    return [shown(column) for column in columns]


def _plot(done: Monitored) -> bytes:
    from assets.plots import line

    def loss(side: str) -> list[float | None]:
        return [(m.facts[side] or {}).get("log_loss") for m in done.months]

    return line(
        "Drifted share of the inputs, and log loss",
        [m.month for m in done.months],
        {
            "drifted share": [m.facts["drifted_share"] for m in done.months],
            "log loss, served": loss("current"),
            "log loss, reference": loss("reference"),
        },
        "share / nats",
    )
