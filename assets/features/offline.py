"""Exports feature marts from the published warehouse to the parquet files that Feast reads, a file a month."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from assets.domains import Domain, following
from assets.warehouse.ledger import build_keys, reading
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError

RECORD = "exported.json"


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
    """Write the months of a mart, each file replaced in one step, then what they were exported from.

    All later months are written too: a change in one month moves the trailing values of those after it, by as much as
    the mart looks back, and the first values after the newest data are needed online.
    """
    model = manifest.models[mart]
    target = folder(features, mart)
    target.mkdir(parents=True, exist_ok=True)
    rows: dict[date, int] = {}
    with reading(warehouse_file) as connection:
        newest = connection.execute(f'select max(event_timestamp) from "{model.schema}"."{mart}"').fetchone()
        last = following(periods[-1])
        if newest and newest[0]:
            last = max(last, newest[0].astimezone(domain.zone).date().replace(day=1))
        months = [periods[0]]
        while months[-1] < last:
            months.append(following(months[-1]))
        for period in months:
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
        built = connection.execute(
            "select period::varchar, key from clearway.builds where model = ?", [mart]
        ).fetchall()
    written = {period.isoformat() for period in months}
    _record(target, {**_exported(target), **{period: key for period, key in built if period in written}})
    return Exported(mart, rows, newest[0].astimezone(UTC) if newest and newest[0] else None)


def refuse_stale(warehouse_file: Path, features: Path, marts: list[str], until: date) -> None:
    """Refuse feature files that are older than the warehouse: their features would go by the name of newer ones.

    Raises:
        ClearwayError: a month before ``until`` was built again and not exported since.
    """
    exported = {f"{mart}/{period}": key for mart in marts for period, key in _exported(folder(features, mart)).items()}
    stale = [name for name, key in build_keys(warehouse_file, marts, until).items() if exported.get(name) != key]
    if stale:
        behind = sorted({f"features/{name.split('/')[0]}" for name in stale})
        raise ClearwayError(
            f"{len(stale)} months of feature tables were not exported from the warehouse as it is: "
            f"{', '.join(stale[:5])}{', …' if len(stale) > 5 else ''}.",
            untouched="every training set and the served online window.",
            todo=f"materialize {', '.join(behind)} for these months.",
        )


def _exported(target: Path) -> dict[str, str]:
    """The build key from which each month of a mart was exported."""
    try:
        content: dict[str, str] = json.loads((target / RECORD).read_text())
    except FileNotFoundError:
        return {}
    return content


def _record(target: Path, keys: dict[str, str]) -> None:
    part = target / f"{RECORD}.part"
    part.write_text(json.dumps(keys, indent=2))
    os.replace(part, target / RECORD)
