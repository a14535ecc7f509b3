"""What operations told becomes online features: marts over the published rows, pushed into the served window."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from assets.domains import Domain
from assets.features.offline import feature_marts
from assets.ingestion.assets import feed_key
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.publish import raw
from assets.ingestion.resources import LakehouseResource
from assets.metadata import table
from assets.warehouse.manifest import Manifest
from serving import clock
from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    import pyarrow as pa

PUSHED = dg.AssetKey(["features", "pushed"])


@dataclass(frozen=True)
class PushedRows:
    """What a push came to: rows written, or why there was nothing to write."""

    rows: int
    status: str
    window: str | None = None
    marts: tuple[tuple[str, int], ...] = ()


def push_told(
    domain: Domain, manifest: Manifest, lakehouse: Lakehouse, settings: Settings, now: datetime
) -> PushedRows:
    """Push feature rows that have become known since the served window was made.

    The marts are computed over the published rows of this month and the one before, as their contract has left them,
    by the dbt project's own SQL. It keeps no state: what was pushed before is pushed again, and is the same.

    Args:
        now: data time; what becomes known later waits.

    Raises:
        ClearwayError: dbt cannot compile the marts, or the window cannot be written.
    """
    from assets.features.live import LiveMarts
    from assets.features.online import current
    from assets.features.push import Pusher

    served = current(settings.online_pointer)
    if served is None:
        return PushedRows(0, "no window is served yet")
    if datetime.fromisoformat(served["as_of"]) >= now:
        return PushedRows(0, "the served window knows everything", str(served["window"]))
    marts = feature_marts(manifest)
    rows = _rows(domain, manifest, lakehouse, now)
    if rows is None:
        return PushedRows(0, "no rows are published of this month and the one before", str(served["window"]))
    found = LiveMarts(domain, manifest, _sql(domain, manifest, marts)).compute(rows, marts)
    pusher = Pusher(domain.name, settings.online_pointer)
    pusher.load(found)
    count = pusher.push(now)
    return PushedRows(count, "pushed", str(served["window"]), tuple((name, len(found[name])) for name in marts))


def _rows(domain: Domain, manifest: Manifest, lakehouse: Lakehouse, now: datetime) -> dict[str, pa.Table] | None:
    """Published rows of every source that the project reads; None when one has none."""
    import pyarrow as pa

    this = now.astimezone(domain.zone).date().replace(day=1)
    before = date(this.year - (this.month == 1), (this.month - 2) % 12 + 1, 1)
    found: dict[str, pa.Table] = {}
    for name in sorted({s for model in manifest.models.values() for s in model.sources}):
        periods = (before, this) if domain.sources[name].partitioned else (None,)
        parts = [part for p in periods if (part := lakehouse.read(raw(name), period=p)) is not None and len(part)]
        if not parts:
            return None
        found[name] = pa.concat_tables(parts)
    return found


def _sql(domain: Domain, manifest: Manifest, marts: list[str]) -> dict[str, str]:
    """The marts' SQL, compiled once for a state of the project: dbt takes seconds."""
    from assets.features.live import compiled

    kept = manifest.folder / "live.json"
    if kept.exists():
        content: dict[str, str] = json.loads(kept.read_text())
        return content
    found = compiled(manifest, domain.dbt_project, marts)
    part = kept.with_name(f".{kept.name}.{os.getpid()}")
    part.write_text(json.dumps(found))
    os.replace(part, kept)
    return found


def pushed_asset(domain: Domain, manifest: Manifest) -> dg.AssetsDefinition:
    """Online features of what was told; nothing where no source has a feed."""

    @dg.asset(
        key=PUSHED,
        deps=[feed_key(s.name) for s in domain.sources.values() if s.feed],
        description=(
            "Feature rows of what operations told, pushed into the served window as they become known: the marts over "
            "the rows that the feed's contract let through, by the dbt project's own SQL."
        ),
        owners=[domain.owner],
        group_name="features",
        kinds={"feast", "duckdb"},
        tags={"stage": "features"},
        pool="online_store",
    )
    def pushed(lakehouse: LakehouseResource) -> dg.MaterializeResult:
        done = push_told(domain, manifest, lakehouse.open(), get_settings(), clock.now())
        return dg.MaterializeResult(
            metadata={
                "status": done.status,
                "rows_pushed": done.rows,
                "window": done.window or "none",
                "at": clock.now().isoformat(),
                "marts": table([{"mart": name, "rows": rows} for name, rows in done.marts]),
            }
        )

    return pushed
