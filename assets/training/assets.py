"""One asset a declared model: its newest registry version, with its gates as checks."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.domains import Domain
from assets.features.assets import training_set_key
from assets.features.resources import FeaturesResource
from assets.metadata import picture, table
from assets.training.resources import RegistryResource
from assets.training.spec import ModelDeclaration
from assets.warehouse.manifest import Manifest, load_manifest
from assets.warehouse.resources import WarehouseResource
from serving import clock
from serving.settings import get_settings

GROUP = "training"
GATES = {
    "floor_auc": "The AUC on the later months reaches the declared floor.",
    "floor_log_loss": "The log loss on the later months stays under the declared floor.",
    "champion": "Paired by day on the same rows, the version is shown not to be worse than the champion.",
    "slices": "No large slice is worse off than by knowing its own rate.",
    "calibration": "Probabilities mean what they say.",
    "schema": "The artifact takes the declared inputs, in their order.",
}


def definitions(domain: Domain) -> dg.Definitions:
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    return dg.Definitions(assets=[_model_asset(domain, manifest, model) for model in domain.models.values()])


def version_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["models", model])


def _model_asset(domain: Domain, manifest: Manifest, model: ModelDeclaration) -> dg.AssetsDefinition:
    key = version_key(model.name)

    @dg.asset(
        key=key,
        deps=[training_set_key(model.name)],
        description=(
            f"{model.title} {model.description} A registry version: parameters by Optuna over time-ordered folds, "
            "LightGBM, calibrated. It becomes challenger only when all its gates pass."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"lightgbm", "mlflow"},
        tags={"stage": "training", "clearway/heavy": "true"},
        metadata={"gates": model.gates.model_dump(mode="json"), "inputs": ", ".join(i.name for i in model.inputs)},
        check_specs=[dg.AssetCheckSpec(g, asset=key, blocking=True, description=d) for g, d in GATES.items()],
        pool="training",
    )
    def version(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        features: FeaturesResource,
        registry: RegistryResource,
    ) -> Iterator[dg.MaterializeResult]:
        from assets.training.tabular.version import make
        from assets.training.window import DECISION_TAG, decided

        registered = make(
            domain,
            manifest,
            model,
            warehouse.file,
            features,
            registry.settings(),
            clock.now(),
            context.log.info,
            decided(model, registry.settings(), context.run.tags.get(DECISION_TAG)),
        )
        facts = registered.facts
        plot = registry.plot(registered)
        seen = {"evaluation": picture(plot, "reliability, scores by month, gain by input")} if plot is not None else {}
        metadata: dict[str, Any] = {
            **seen,
            "version": registered.version,
            "status": "trained" if registered.new else "unchanged",
            "decision": facts.get("decision") or "none: made of the declared windows",
            "alias": "challenger" if registered.passed else "none",
            "gates": table(facts["gates"]),
            "scores": table(
                [{"score": n, **{k: round(v, 5) for k, v in s.items()}} for n, s in facts["scores"].items()]
            ),
            "by_month": table(facts["months"]),
            "parameters": facts["parameters"],
            "mlflow_run": registered.run_id,
            "commit": facts["commit"],
            "training_set": facts["training_set"]["key"],
        }
        yield dg.MaterializeResult(
            metadata=metadata,
            check_results=[
                dg.AssetCheckResult(
                    passed=v["passed"],
                    check_name=v["gate"],
                    metadata={"observed": v["observed"], "expected": v["expected"]},
                )
                for v in facts["gates"]
            ],
        )

    return version
