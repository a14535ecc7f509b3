"""The copilot's release: the untuned base first, then every tuned version over what users get, by its plan."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg

from assets.delivery.assets import checks_of, release_key, rollouts_asset, told
from assets.domains import Domain
from assets.training.llm.assets import GROUP, VERSION, copilot_of
from assets.training.llm.spec import CopilotDeclaration
from assets.training.resources import RegistryResource
from assets.warehouse.resources import WarehouseResource
from serving.errors import ClearwayError
from serving.rollout.plan import read_plan
from serving.semantics.asking import COPILOT
from serving.settings import Settings

RELEASE = release_key(COPILOT)


def definitions(domain: Domain) -> dg.Definitions:
    found = copilot_of(domain)
    if found is None:
        return dg.Definitions()
    declared, _ = found
    owner = declared.owner or domain.owner
    return dg.Definitions(assets=[_release_asset(domain, declared), rollouts_asset(COPILOT, owner, GROUP)])


def _release_asset(domain: Domain, declared: CopilotDeclaration) -> dg.AssetsDefinition:
    plans = domain.folder / "releases"
    plan = read_plan(plans / f"{declared.release}.yaml", version="0")

    @dg.asset(
        key=RELEASE,
        deps=[VERSION],
        description=(
            "The release of the tuned copilot over what users get: it answers copies of users' questions first, then a "
            "growing share of them. Where nothing is released, the untuned base is, before it."
        ),
        owners=[declared.owner or domain.owner],
        group_name=GROUP,
        kinds={"envoy", "vllm"},
        tags={"stage": "delivery"},
        metadata={"plan": dg.MetadataValue.md(f"```yaml\n{(plans / f'{declared.release}.yaml').read_text()}\n```")},
        check_specs=checks_of(RELEASE, plan),
        pool="rollout",
    )
    def released(
        context: dg.AssetExecutionContext, registry: RegistryResource, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from assets.delivery.release import release
        from assets.training.llm.dataset import newest
        from assets.training.llm.version import base_version
        from assets.training.tabular.version import stable_version
        from serving.semantics.engine import MetricEngine

        settings = registry.settings()
        if stable_version(COPILOT, settings) is None:
            engine = MetricEngine(None, warehouse.file)
            try:
                base = base_version(declared, engine, newest(settings), settings)
            finally:
                engine.close()
            release_base(base, plans / f"{declared.first_release}.yaml", settings, context.run.run_id, context.log.info)
        name = declared.release if users_get_its_like(settings) else declared.release_anew
        outcome = release(COPILOT, plans / f"{name}.yaml", settings, context.run.run_id, context.log.info)
        yield from told(COPILOT, outcome, plan)

    return released


def users_get_its_like(settings: Settings) -> bool:
    """Whether the stable version was tuned on the same metrics as the challenger, so that they ought to agree."""
    from assets.training.llm.version import MANIFEST, TUNED
    from assets.training.tabular.version import stable_version
    from serving.models.registry import CHALLENGER, alias_version, versions

    stable, challenger = stable_version(COPILOT, settings), alias_version(COPILOT, CHALLENGER, settings)
    tags = {found.version: found.tags for found in versions(COPILOT, settings)}
    now, then = tags.get(str(stable), {}), tags.get(str(challenger), {})
    return now.get(TUNED) == "yes" and now.get(MANIFEST) == then.get(MANIFEST)


def release_base(base: str, plan_file: Path, settings: Settings, run_id: str, log: Callable[[str], None]) -> None:
    """Give users the untuned base, to which a tuned version is compared by their questions.

    Raises:
        ClearwayError: its rollout does not complete.
    """
    from serving.rollout.read import wait_for
    from serving.rollout.submit import submit

    plan = read_plan(plan_file, version=base, requested_by="releases/metric_copilot", reason="nothing was released yet")
    ident = submit(plan, settings, rollout_id=f"{COPILOT}-v{base}-{run_id[:8]}")
    log(f"{COPILOT}: the untuned base, version {base}, is released first: rollout {ident}")
    rollout = wait_for(COPILOT, ident, plan.ready_timeout_s + 300, settings, until_held=True)
    if rollout.phase != "completed":
        raise ClearwayError(
            f"the untuned base of {COPILOT}, version {base}, was not released: {rollout.reason or rollout.stopped}",
            untouched="everything that answers.",
            todo="read the log of its server, then materialize releases/metric_copilot again.",
        )
