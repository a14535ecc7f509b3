"""Exports feature marts from the published warehouse to the parquet files that Feast reads, a file a month."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from assets.domains import Domain, following
from assets.warehouse.build import reading
from assets.warehouse.manifest import Manifest


@dataclass(frozen=True)
class Exported:
    """What was exported of one mart: rows by month, and the newest instant that a value holds from."""

    mart: str
    rows: dict[date, int]
    newest: datetime | None


def feature_marts(manifest: Manifest) -> list[str]:
    """Names of the marts tagged ``feature``."""
    return sorted(m.name for m in manifest.models.values() if "feature" in m.tags)


def folder(features: Path, mart: str) -> Path:
    return features / "offline" / mart


def export(
    domain: Domain, manifest: Manifest, warehouse_file: Path, features: Path, mart: str, periods: list[date]
) -> Exported:
    """Write the months of a mart, each file replaced in one step.

    The month after the last is written too: a change in one month moves the trailing values of the next, and the
    first values after the newest data are needed online.
    """
    model = manifest.models[mart]
    target = folder(features, mart)
    target.mkdir(parents=True, exist_ok=True)
    rows: dict[date, int] = {}
    with reading(warehouse_file) as connection:
        for period in [*periods, following(periods[-1])]:
            start, end = domain.bounds(period)
            part = target / f"{period.isoformat()}.parquet.part"
            # Microseconds, because Feast compares them with the entity rows' own.
            columns = ", ".join(
                f'"{c}"::timestamptz as "{c}"' if c in ("event_timestamp", "created_at") else f'"{c}"'
                for c in model.columns
            )
            counted = connection.execute(
                f'copy (select {columns} from "{model.schema}"."{mart}"'
                f" where event_timestamp >= '{start.isoformat()}' and event_timestamp < '{end.isoformat()}'"
                f" order by event_timestamp) to '{part}' (format parquet)"
            ).fetchone()
            if counted and counted[0]:
                os.replace(part, part.with_suffix(""))
                rows[period] = counted[0]
            else:
                part.unlink()
                part.with_suffix("").unlink(missing_ok=True)
        newest = connection.execute(f'select max(event_timestamp) from "{model.schema}"."{mart}"').fetchone()
    return Exported(mart, rows, newest[0].astimezone(UTC) if newest and newest[0] else None)
