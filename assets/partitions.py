"""The domain's periods as Dagster partitions, and how every partitioned asset of Clearway is run."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Any

import dagster as dg

from assets.domains import Domain


@lru_cache(maxsize=8)
def _monthly(start: date, end: date, zone: str) -> dg.MonthlyPartitionsDefinition:
    return dg.MonthlyPartitionsDefinition(
        start_date=start.isoformat(), end_date=end.isoformat(), timezone=zone, fmt="%Y-%m-%d"
    )


def periods(domain: Domain) -> dg.MonthlyPartitionsDefinition:
    """The partitions that all partitioned assets of the domain share; keys are first days, ``2013-02-01``."""
    declared = domain.declared.partitions
    return _monthly(declared.start, declared.end, domain.declared.timezone)


def partitioned(domain: Domain) -> dict[str, Any]:
    """Arguments of a partitioned asset: a range of partitions is one run, which starts the stage's tools once."""
    return {"partitions_def": periods(domain), "backfill_policy": dg.BackfillPolicy.single_run()}


def run_periods(context: dg.AssetExecutionContext) -> list[date]:
    """The periods of this run, in order."""
    return sorted(date.fromisoformat(key) for key in context.partition_keys)
