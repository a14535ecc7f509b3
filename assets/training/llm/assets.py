"""The copilot's assets: the pairs that it learns from, its tuning, its registry version with its gates."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.domains import Domain
from assets.metadata import picture, table
from assets.training.llm.gates import GATES, median
from assets.training.llm.spec import CopilotDeclaration, read_copilot
from assets.training.resources import RegistryResource
from assets.warehouse.manifest import load_manifest
from assets.warehouse.metrics import metric_key
from assets.warehouse.resources import WarehouseResource
from serving.semantics.asking import COPILOT
from serving.semantics.catalogue import load_catalogue
from serving.settings import get_settings

GROUP = "copilot"
PAIRS, ADAPTER = dg.AssetKey(["copilot", "pairs"]), dg.AssetKey(["copilot", "adapter"])
VERSION = dg.AssetKey(["models", COPILOT])


def copilot_of(domain: Domain) -> tuple[CopilotDeclaration, list[str]] | None:
    """A domain's copilot and the metrics it is asked for; None where none is declared, or nothing can be asked for."""
    declared = read_copilot(domain.folder)
    if declared is None:
        return None
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    metrics = sorted(load_catalogue(manifest.folder / "semantic_manifest.json").metrics)
    return (declared, metrics) if metrics else None


def definitions(domain: Domain) -> dg.Definitions:
    found = copilot_of(domain)
    if found is None:
        return dg.Definitions()
    declared, metrics = found
    return dg.Definitions(
        assets=[
            _pairs_asset(domain, declared, metrics),
            _adapter_asset(domain, declared),
            _version_asset(domain, declared),
        ]
    )


def _pairs_asset(domain: Domain, declared: CopilotDeclaration, metrics: list[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=PAIRS,
        deps=[metric_key(name) for name in metrics],
        description=(
            "Questions in plain language, English and Korean, each with the query of the semantic layer that answers "
            "it, or the reason why none does: drawn from the metrics, their words, and the dimensions' values. Some "
            "phrasings, combinations and values are never trained on."
        ),
        owners=[declared.owner or domain.owner],
        group_name=GROUP,
        kinds={"json", "metricflow"},
        tags={"stage": "training"},
    )
    def pairs(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult:
        from assets.training.llm.dataset import folder_of, make
        from serving.semantics.engine import MetricEngine

        engine = MetricEngine(None, warehouse.file)
        try:
            made = make(engine, folder_of(get_settings()), declared.seed, context.log.info)
        finally:
            engine.close()
        card = made.card
        return dg.MaterializeResult(
            metadata={
                "status": "drawn" if made.new else "unchanged",
                "key": card["key"],
                "dagster/row_count": card["pairs"],
                "counts": table(card["counts"]),
                "examples": table(card["examples"]),
                "values": table([{"dimension": name, "values": n} for name, n in card["dimensions"].items()]),
                "days": f"{card['first']} to {card['last']}",
                "path": dg.MetadataValue.path(str(made.path)),
            }
        )

    return pairs


def _adapter_asset(domain: Domain, declared: CopilotDeclaration) -> dg.AssetsDefinition:
    tuning = declared.tuning

    @dg.asset(
        key=ADAPTER,
        deps=[PAIRS],
        description=(
            f"{declared.server['base']}, tuned on the pairs ({tuning.method}, {tuning.steps} steps of {tuning.batch}) "
            "by a process of its own in the environment of language models. A tuning that is killed goes on from its "
            "newest checkpoint."
        ),
        owners=[declared.owner or domain.owner],
        group_name=GROUP,
        kinds={"pytorch", "huggingface"},
        tags={"stage": "training", "clearway/heavy": "true", "clearway/size": "small"},
        metadata={"tuning": tuning.model_dump(mode="json")},
        pool="training",
    )
    def adapter(context: dg.AssetExecutionContext, pipes: dg.ResourceParam[dg.PipesClient]) -> dg.MaterializeResult:
        from assets.training.llm.adapter import tuned
        from assets.training.llm.dataset import newest
        from assets.training.llm.losses import drawn

        def start(command: list[str], variables: dict[str, str]) -> None:
            pipes.run(context=context, command=command, env=variables)

        made = tuned(declared, newest(get_settings()), get_settings(), start, context.log.info)
        last = [step["loss"] for step in made.losses[-10:]]
        return dg.MaterializeResult(
            metadata={
                "status": "tuned" if made.new else "unchanged",
                "key": made.key,
                "losses": picture(drawn(made.losses), "loss by step, nats a token of the reply"),
                "steps": len(made.losses),
                "loss_of_last_10_steps": sum(last) / len(last) if last else 0.0,
                "seconds": round(made.seconds, 1),
                "cpu_seconds": round(made.cpu_seconds, 1),
                "path": dg.MetadataValue.path(str(made.path)),
            }
        )

    return adapter


def _version_asset(domain: Domain, declared: CopilotDeclaration) -> dg.AssetsDefinition:
    @dg.asset(
        key=VERSION,
        deps=[ADAPTER],
        description=(
            f"{declared.title} A registry version: adapter, base, schema and manifest together, judged by what its own "
            "server replies to questions that it never saw. It becomes challenger only when all its gates pass."
        ),
        owners=[declared.owner or domain.owner],
        group_name=GROUP,
        kinds={"vllm", "mlflow"},
        tags={"stage": "training", "clearway/heavy": "true", "clearway/size": "gpu"},
        metadata={"gates": declared.gates.model_dump(mode="json")},
        check_specs=[dg.AssetCheckSpec(g, asset=VERSION, blocking=True, description=d) for g, d in GATES.items()],
        pool="training",
    )
    def version(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, registry: RegistryResource
    ) -> Iterator[dg.MaterializeResult]:
        from assets.training.llm.adapter import newest as newest_adapter
        from assets.training.llm.dataset import newest
        from assets.training.llm.version import make, marked_lines
        from serving.gateway.marked import read_marked
        from serving.semantics.engine import MetricEngine

        settings = registry.settings()
        pairs = newest(settings)
        engine = MetricEngine(None, warehouse.file)
        try:
            marked = marked_lines(read_marked(settings), context.log.warning)
            made = make(declared, engine, pairs, newest_adapter(declared, pairs, settings), marked, settings,
                        context.log.info)  # fmt: skip
        finally:
            engine.close()
        facts = made.facts
        metadata: dict[str, Any] = {
            "version": made.version,
            "status": "judged" if made.new else "unchanged",
            "alias": "challenger" if made.passed else "none",
            "gates": table(facts["gates"]),
            "by_question": table(facts["by_question"]),
            "base": table(facts["base"]),
            "nearest_question": table(facts["nearest"]),
            "seconds_p50": round(median(facts["seconds"])[0], 2),
            "completion_tokens": round(facts["completion_tokens"], 1),
            "wrong": table(facts["wrong"]) if facts["wrong"] else "none",
            "went_along": table(facts["went_along"]) if facts["went_along"] else "none",
            "tuning": facts["tuning"],
            "commit": facts["commit"],
        }
        if facts["marked"]:
            metadata["marked_by_users"] = table(facts["marked"])
        yield dg.MaterializeResult(
            metadata=metadata,
            check_results=[
                dg.AssetCheckResult(
                    passed=gate["passed"],
                    check_name=gate["gate"],
                    metadata={"observed": gate["observed"], "expected": gate["expected"]},
                )
                for gate in facts["gates"]
            ],
        )

    return version
