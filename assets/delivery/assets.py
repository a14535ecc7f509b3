"""Two assets a declared model: its newest release, from the plan to the decision record; and all its rollouts."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.delivery.outcomes import check_metrics, metrics_of
from assets.domains import Domain
from assets.features.assets import ONLINE
from assets.metadata import picture, table
from assets.training.assets import version_key
from assets.training.resources import RegistryResource
from assets.training.spec import ModelDeclaration
from assets.training.window import DECISION_TAG
from assets.warehouse.manifest import Manifest, load_manifest
from assets.warehouse.metrics import metric_key
from assets.warehouse.predictions import served_metrics
from assets.warehouse.resources import WarehouseResource
from serving.rollout.plan import ReleasePlan, read_plan
from serving.semantics.catalogue import load_catalogue
from serving.settings import get_settings

if TYPE_CHECKING:
    from assets.delivery.release import Outcome

GROUP = "delivery"
COMPLETED = "completed"


def definitions(domain: Domain) -> dg.Definitions:
    models = domain.models.values()
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    return dg.Definitions(
        assets=[
            *(_release_asset(domain, manifest, m) for m in models),
            *(rollouts_asset(m.name, m.owner or domain.owner) for m in models),
            *(_outcomes_asset(domain, manifest, m) for m in models if served_metrics(manifest)),
        ]
    )


def release_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["releases", model])


def rollouts_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["rollouts", model])


def outcomes_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["outcomes", model])


def _steps(plan: ReleasePlan) -> dict[str, int]:
    """Weight of each step that has a check, by the check's name."""
    if plan.strategy == "blue_green":
        return {}
    return {f"step_{step.weight}": step.weight for step in plan.steps}


def checks_of(key: dg.AssetKey, plan: ReleasePlan) -> list[dg.AssetCheckSpec]:
    steps = [
        dg.AssetCheckSpec(name, asset=key, description=f"The new version was given {weight}% of the traffic.")
        for name, weight in _steps(plan).items()
    ]
    done = dg.AssetCheckSpec(
        COMPLETED, asset=key, blocking=True, description="The rollout completed; users get the version."
    )
    return [*steps, done]


def _results(outcome: "Outcome", plan: ReleasePlan) -> Iterator[dg.AssetCheckResult]:
    for name, weight in _steps(plan).items():
        why = next((row["why"] for row in outcome.timeline if row["weight"] == f"{weight}%"), None)
        yield dg.AssetCheckResult(
            passed=weight in outcome.reached,
            check_name=name,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"why": why or "the rollout ended before this step"},
        )
    yield dg.AssetCheckResult(
        passed=outcome.phase == "completed",
        check_name=COMPLETED,
        metadata={"phase": outcome.phase, "reason": outcome.reason or outcome.held or "-"},
    )


def told(model: str, outcome: "Outcome", plan: ReleasePlan) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """What a release's step ends with: its metadata and checks; or its failure, when users do not get the version."""
    if outcome.phase != "completed":
        yield from _results(outcome, plan)
        ended = f"was rolled back: {outcome.reason}"
        waits = f"waits for a person ({outcome.held}); see the job rollout_command: promote, resume or abort"
        raise dg.Failure(
            description=f"The rollout of {model} version {outcome.version} {waits if outcome.held else ended}",
            metadata={
                "left_untouched": "the stable version, which goes on answering",
                "rollout": outcome.id,
                "timeline": table(outcome.timeline),
                **_seen(outcome),
            },
            allow_retries=False,
        )
    yield dg.MaterializeResult(
        metadata={
            **_seen(outcome),
            "version": outcome.version,
            "rollout": outcome.id,
            "status": outcome.status,
            "strategy": outcome.plan.get("strategy", "-"),
            "timeline": table(outcome.timeline),
            "decision_record": outcome.record or {},
        },
        check_results=list(_results(outcome, plan)),
    )


def _release_asset(domain: Domain, manifest: Manifest, model: ModelDeclaration) -> dg.AssetsDefinition:
    key = release_key(model.name)
    file = domain.folder / "releases" / f"{model.release}.yaml"
    plan = read_plan(file, version="0")
    if metrics_of(plan):
        check_metrics(plan, load_catalogue(manifest.folder / "semantic_manifest.json"), _shown(file))

    @dg.asset(
        key=key,
        deps=[version_key(model.name), ONLINE],
        description=(
            f"The release of the challenger of {model.name} by the plan {model.release} ({_words(plan)}): submitted to "
            "the rollout controller, which starts it, tries it, moves traffic and writes the decision record. Its log "
            "is the truth."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"envoy", "mlflow"},
        tags={"stage": "delivery"},
        metadata={"plan": dg.MetadataValue.md(f"```yaml\n{file.read_text()}\n```"), "plan_file": _shown(file)},
        check_specs=checks_of(key, plan),
        pool="rollout",
    )
    def released(
        context: dg.AssetExecutionContext, registry: RegistryResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from assets.delivery.release import release

        decision = context.run.tags.get(DECISION_TAG)
        outcome = release(model.name, file, registry.settings(), context.run.run_id, context.log.info, decision)
        yield from told(model.name, outcome, plan)

    return released


def rollouts_asset(model: str, owner: str, group: str = GROUP) -> dg.AssetsDefinition:
    """All rollouts of a model, whatever kind of model it is."""

    @dg.asset(
        key=rollouts_key(model),
        deps=[release_key(model)],
        description=(
            f"All rollouts of {model} as the controller's log has them, whoever submitted them, and a picture of "
            "the newest one: weights, requests, evidence. The sensor rollouts keeps it up to date."
        ),
        owners=[owner],
        group_name=group,
        kinds={"envoy"},
        tags={"stage": "delivery"},
    )
    def rollouts(registry: RegistryResource) -> dg.MaterializeResult:
        from assets.delivery.release import entries_in_words
        from assets.delivery.timeline import picture_of
        from serving.rollout.read import list_rollouts, read_state

        settings = registry.settings()
        found = list_rollouts(model, settings)
        state = read_state(model, settings)
        metadata: dict[str, Any] = {
            "stable": state.arms[state.stable].version if state.stable else "none",
            "weights": {name: f"{weight}%" for name, weight in state.weights.items()},
            "dagster/row_count": len(found),
        }
        if found:
            drawn = picture_of(found[-1], settings)
            metadata |= {"newest": picture(drawn, "weights, requests, evidence")} if drawn else {}
            metadata["newest_log"] = table(entries_in_words(found[-1])) if found[-1].entries else "queued"
            metadata["rollouts"] = table(
                [
                    {
                        "rollout": r.id,
                        "version": r.version,
                        "strategy": r.plan.get("strategy", "-"),
                        "is": r.status,
                        "requested_by": r.plan.get("requested_by", "-"),
                        "why": r.reason or "",
                    }
                    for r in reversed(found)
                ]
            )
        return dg.MaterializeResult(metadata=metadata)

    return rollouts


def _outcomes_asset(domain: Domain, manifest: Manifest, model: ModelDeclaration) -> dg.AssetsDefinition:
    @dg.asset(
        key=outcomes_key(model.name),
        deps=[metric_key(name) for name in served_metrics(manifest)],
        description=(
            f"What became known of the requests under a running rollout of {model.name}: the metrics by which its "
            "gates judge, request by request, from the semantic layer to the gates."
        ),
        owners=[model.owner or domain.owner],
        group_name="monitoring",
        kinds={"metricflow", "envoy"},
        tags={"stage": "delivery"},
        pool="outcomes",
    )
    def outcomes(registry: RegistryResource, warehouse: WarehouseResource) -> dg.MaterializeResult:
        from assets.delivery.outcomes import report
        from serving.semantics.engine import MetricEngine

        engine = MetricEngine(manifest.folder / "semantic_manifest.json", warehouse.file)
        try:
            told = report(model.name, engine, registry.settings())
        finally:
            engine.close()
        metadata: dict[str, Any] = {f"requests/{name}": count for name, count in told.requests.items()}
        return dg.MaterializeResult(metadata={"rollout": told.rollout or "none is under gates", **metadata})

    return outcomes


def _seen(outcome: "Outcome") -> dict[str, Any]:
    return {"rollout_picture": picture(outcome.picture, "weights, requests, evidence")} if outcome.picture else {}


def _words(plan: ReleasePlan) -> str:
    words = plan.strategy.replace("_", "-")
    return words if plan.strategy == "blue_green" else f"{words}, {' '.join(f'{s.weight}%' for s in plan.steps)}"


def _shown(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
