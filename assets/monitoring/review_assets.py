"""Two assets a declared model: the review of each period, and what followed from all of them."""

from typing import Any

import dagster as dg

from assets.domains import Domain
from assets.features.resources import FeaturesResource
from assets.metadata import picture, short, table
from assets.monitoring.history import Chapter, history
from assets.monitoring.record import Record
from assets.partitions import partitioned, run_periods
from assets.training.resources import RegistryResource
from assets.training.spec import ModelDeclaration
from assets.warehouse.manifest import Manifest
from assets.warehouse.resources import WarehouseResource
from serving import clock

GROUP = "retraining"
HEALTHY = "no_alarm"


class ReviewConfig(dg.Config):
    """How a review is asked for by hand.

    ``again`` decides once more although there is a record; ``first`` asks for a version where there is none.
    """

    again: bool = False
    first: bool = False


def reviews_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["reviews", model])


def history_key(model: str) -> dg.AssetKey:
    return dg.AssetKey(["retrainings", model])


def review_asset(
    domain: Domain, manifest: Manifest, model: ModelDeclaration, upstream: list[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The decision of each period.

    Args:
        upstream: what a review reads that other assets make.
    """
    key = reviews_key(model.name)
    policy = model.retraining.policy.kind.replace("_", " ")

    @dg.asset(
        key=key,
        deps=upstream,
        description=(
            f"Whether to retrain {model.name}, decided once a period by the policy {policy}: risk "
            "estimated without labels and measured with them, the alarms, what a model fitted on newer data would have "
            "gained, and what it costs. The record says why, and why not."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"lightgbm"},
        tags={"stage": "monitoring"},
        metadata={"retraining": model.retraining.model_dump(mode="json")},
        check_specs=[
            dg.AssetCheckSpec(HEALTHY, asset=key, description="The risk alarm of the model and of its slices is quiet.")
        ],
        **partitioned(domain),
    )
    def reviewed(
        context: dg.AssetExecutionContext,
        config: ReviewConfig,
        warehouse: WarehouseResource,
        features: FeaturesResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult:
        from assets.monitoring.review import Stores, review
        from assets.monitoring.watch import alerts, tell

        stores = Stores(domain, manifest, warehouse.file, features, registry.settings())
        records: list[Record] = []
        for period in run_periods(context):
            record, new = review(stores, model, period, clock.now(), context.log.info, config.again, config.first)
            told = tell(record, alerts(domain, registry.settings(), context.log.warning))
            for problem in told:
                context.log.error(problem)
            records.append(record)
            context.add_asset_metadata(
                {"status": "decided" if new else "decided before", **described(record)},
                partition_key=period.isoformat(),
            )
        raised = [f"{r.id}: {alarm['name']}" for r in records for alarm in r.raised]
        return dg.MaterializeResult(
            metadata={"decisions": table([{"review": r.id, "action": r.action, "why": r.why} for r in records])},
            check_results=[
                dg.AssetCheckResult(
                    passed=not raised,
                    check_name=HEALTHY,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"raised": ", ".join(raised) or "none"},
                )
            ],
        )

    return reviewed


def described(record: Record) -> dict[str, Any]:
    """Metadata of one review."""
    metadata: dict[str, Any] = {
        "decision": record.action,
        "why": dg.MetadataValue.md(f"**{record.action}**: {record.why}"),
        "at": record.at,
        "champion": record.champion or "none",
        "review": record.id,
    }
    if record.outcome:
        metadata["newest_release"] = record.outcome
    if record.numbers:
        metadata["numbers"] = table([{"number": k, "value": short(v)} for k, v in record.numbers.items()])
    if record.risk:
        metadata["risk"] = table([{k: short(v) for k, v in figure.items()} for figure in record.risk.values()])
    if record.alarms:
        metadata["alarms"] = table([{k: short(v) for k, v in alarm.items()} for alarm in record.alarms])
    if record.others:
        metadata["other_policies"] = table([{"policy": k, "would": v} for k, v in record.others.items()])
    return metadata


def history_asset(domain: Domain, model: ModelDeclaration) -> dg.AssetsDefinition:
    """All reviews of a model beside what followed."""

    @dg.asset(
        key=history_key(model.name),
        deps=[reviews_key(model.name)],
        description=(
            f"Every review of {model.name} and what came of it, read back from the records, the registry and the "
            "rollouts' log: estimated and measured risk, decision and reason, challenger, gates, rollout, and what "
            "each release has brought in its first month, good or bad."
        ),
        owners=[model.owner or domain.owner],
        group_name=GROUP,
        kinds={"mlflow"},
        tags={"stage": "monitoring"},
    )
    def retrainings(registry: RegistryResource) -> dg.MaterializeResult:
        from assets.monitoring.history_plot import drawn

        found = history(model.name, registry.settings())
        if not found:
            return dg.MaterializeResult(metadata={"status": "no period was reviewed yet", "dagster/row_count": 0})
        rows = [
            {
                "period": c.record.period[:7],
                "champion": c.record.champion or "none",
                "rate": short(c.record.numbers.get("rate")),
                "estimated": short(c.record.risk.get("log_loss", {}).get("estimated")),
                "measured": short(c.record.risk.get("log_loss", {}).get("measured")),
                "alarms": ", ".join(a["name"] for a in c.record.raised) or "-",
                "decision": c.record.action,
                "challenger": c.version or "-",
                "gates": c.gates or "-",
                "rollout": c.rollout or "-",
                "saved": _saved(c.followed),
            }
            for c in found
        ]
        return dg.MaterializeResult(
            metadata={
                "plot": picture(drawn(found), "risk by period, and what was decided"),
                "reviews": table(rows),
                "story": dg.MetadataValue.md("\n".join(f"- {told(c)}" for c in found)),
                "retrainings": sum(c.record.action == "retrain" for c in found),
                "dagster/row_count": len(rows),
            }
        )

    return retrainings


def _saved(followed: Record | None) -> str:
    if followed is None:
        return "-"
    saved, low, high = (followed.brought[name] for name in ("saved", "low", "high"))
    return f"{saved:+.4f} ({low:+.4f} to {high:+.4f})"


def told(chapter: Chapter) -> str:
    """A review and what came of it, in a line of Markdown."""
    record = chapter.record
    became = f" It led to version {chapter.version}: {chapter.state}." if chapter.version else ""
    then = f" {chapter.followed.outcome.capitalize()} in its first month." if chapter.followed else ""
    return f"**{record.period[:7]}, {record.action}**: {record.why}.{became}{then}"
