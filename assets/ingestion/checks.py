"""The checks of a source: its contract held, and every received row is found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from assets.domains import Domain
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.publish import Published, current_quarantine, raw
from assets.ingestion.reading import DropRejected
from assets.ingestion.spec import Source
from assets.partitions import periods

CONTRACT = "contract"
RECONCILED = "reconciled"


def specs(domain: Domain, source: Source) -> list[dg.AssetCheckSpec]:
    key = dg.AssetKey(["raw", source.name])
    where = {"partitions_def": periods(domain)} if source.partitioned else {}
    return [
        dg.AssetCheckSpec(
            CONTRACT,
            asset=key,
            blocking=True,
            description="The drop was accepted: no rule that rejects failed, and few enough rows are in quarantine.",
            **where,  # type: ignore[arg-type]
        ),
        dg.AssetCheckSpec(
            RECONCILED,
            asset=key,
            blocking=True,
            description="published + quarantined = received, counted in the stores.",
            **where,  # type: ignore[arg-type]
        ),
    ]


def reconcile(lakehouse: Lakehouse, source: Source, which: list[date | None]) -> dict[date | None, dict[str, int]]:
    """Count, in the stores, the published and quarantined rows of the current drops.

    Returns:
        For each period {published, quarantined, received}; ``received`` is what the file had.
    """
    import pyarrow.compute as pc

    counts: dict[date | None, dict[str, int]] = {}
    aside = current_quarantine(lakehouse, source.name)
    ledger = lakehouse.ledger(raw(source.name))
    for period in which:
        rows = lakehouse.read(raw(source.name), ("_drop",), period)
        drop = ledger[period].report["drop"]
        assert rows is not None
        kept = 0
        if aside is not None:
            ours = pc.equal(aside.column("_drop"), drop)
            if period is not None:
                ours = pc.and_(ours, pc.equal(aside.column("period"), period))
            kept = pc.sum(ours).as_py() or 0
        counts[period] = {
            "received": ledger[period].report["received"],
            "published": pc.sum(pc.equal(rows.column("_drop"), drop)).as_py() or 0,
            "quarantined": kept,
        }
    return counts


def results(
    context: dg.AssetExecutionContext,
    source: Source,
    outcomes: list[Published],
    rejected: Mapping[date | None, DropRejected],
    stored: Mapping[date | None, dict[str, int]],
) -> Iterator[dg.AssetCheckResult]:
    """Both checks: over a range one evaluation a partition in the event log, and one over the run.

    To be drawn from after the partitions' materializations are recorded: Dagster takes an evaluation for one of the
    partition as it is only when it names the newest materialization, and of a range it does not fill in the name.
    """
    key = dg.AssetKey(["raw", source.name])
    contract: dict[date | None, tuple[bool, dict[str, Any]]] = {
        **{o.period: (True, {"failing_rows": _failing(o)}) for o in outcomes},
        **{p: (False, {"rule": e.reason, "why": e.what, "what_to_do": e.todo or ""}) for p, e in rejected.items()},
    }
    balance = {p: (c["published"] + c["quarantined"] == c["received"], dict(c)) for p, c in stored.items()}
    for name, found in ((CONTRACT, contract), (RECONCILED, balance)):
        if not found:
            yield dg.AssetCheckResult(
                passed=False, asset_key=key, check_name=name, metadata={"why": "no partition was published"}
            )
            continue
        if source.partitioned and len(context.partition_keys) > 1:
            for period, (passed, facts) in found.items():
                assert period is not None
                context.log_event(
                    dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=name,
                        passed=passed,
                        metadata=facts,
                        partition=period.isoformat(),
                        blocking=True,
                        target_materialization_data=_newest(context, key, period),
                    )
                )
        failed = {p: facts for p, (passed, facts) in found.items() if not passed}
        only = next(iter(found.values()))[1] if len(found) == 1 else {"partitions": len(found), "failed": len(failed)}
        yield dg.AssetCheckResult(passed=not failed, asset_key=key, check_name=name, metadata=only)


def _newest(
    context: dg.AssetExecutionContext, key: dg.AssetKey, period: date
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """The newest materialization of a partition; None when there is none."""
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[period.isoformat()])
    for record in context.instance.fetch_materializations(wanted, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
    return None


def _failing(outcome: Published) -> int:
    return sum(r["failing"] for r in outcome.report["rules"] if r["action"] != "note")
