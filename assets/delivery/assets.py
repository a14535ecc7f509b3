"""One asset a declared model: its newest release, from the submitted plan to the decision record."""

from collections.abc import Iterator

import dagster as dg

from assets.domains import Domain
from assets.features.assets import ONLINE
from assets.metadata import table
from assets.training.assets import version_key
from assets.training.resources import RegistryResource
from assets.training.spec import ModelDeclaration

GROUP = "delivery"
COMPLETED = "completed"


def definitions(domain: Domain) -> dg.Definitions:
    return dg.Definitions(assets=[_release_asset(domain, model) for model in domain.models.values()])


def release_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["releases", model])


def _release_asset(domain: Domain, model: ModelDeclaration) -> dg.AssetsDefinition:
    key = release_key(model.name)
    plan = domain.folder / "releases" / f"{model.release}.yaml"

    @dg.asset(
        key=key,
        deps=[version_key(model.name), ONLINE],
        description=(
            f"The release of the challenger of {model.name} by the plan {model.release}: submitted to the rollout "
            "controller, which starts it, tries it, moves traffic and writes the decision record. Its log is the truth."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"envoy", "mlflow"},
        tags={"stage": "delivery"},
        check_specs=[
            dg.AssetCheckSpec(
                COMPLETED, asset=key, blocking=True, description="The rollout completed; users get the version."
            )
        ],
        pool="rollout",
    )
    def released(
        context: dg.AssetExecutionContext, registry: RegistryResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from assets.delivery.release import release

        outcome = release(model.name, plan, registry.settings(), context.run.run_id, context.log.info)
        passed = outcome.phase == "completed"
        verdict = dg.AssetCheckResult(
            passed=passed, check_name=COMPLETED, metadata={"phase": outcome.phase, "reason": outcome.reason or "-"}
        )
        if not passed:
            yield verdict
            raise dg.Failure(
                description=f"The rollout of {model.name} version {outcome.version} was rolled back: {outcome.reason}",
                metadata={"left_untouched": "the stable version, which goes on answering", "rollout": outcome.id},
                allow_retries=False,
            )
        yield dg.MaterializeResult(
            metadata={
                "version": outcome.version,
                "rollout": outcome.id,
                "status": outcome.status,
                "strategy": outcome.plan.get("strategy", "-"),
                "timeline": table(outcome.timeline),
                "decision_record": outcome.record or {},
            },
            check_results=[verdict],
        )

    return released
