"""Whether the files that should be here are here: a check for each partitioned source, by period and not by age."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from assets.domains import Domain
from assets.ingestion.feed import is_open
from assets.ingestion.feed_rows import table_of
from assets.ingestion.publish import raw
from assets.ingestion.resources import LakehouseResource
from assets.ingestion.spec import Source
from serving import clock

FRESH, TELLS = "fresh", "tells"


def missing(domain: Domain, source: Source, published: set[date | None], now: datetime) -> list[date]:
    """Periods whose file was due before ``now`` and is not published, in order.

    Args:
        published: periods that a file was published of; what a feed says is no file.
    """
    grace = timedelta(days=source.due_days)
    return [p for p in domain.periods if domain.bounds(p)[1] + grace <= now and p not in published]


def _feed(source: Source) -> dg.AssetKey:
    return dg.AssetKey(["feeds", source.name])


def silent_since(newest: datetime | None, now: datetime, minutes: float) -> datetime | None:
    """When a feed that has told before fell silent, None while it tells or before it ever did.

    Args:
        newest: when its newest event was received.
        minutes: of silence that are usual.
    """
    return newest if newest is not None and now - newest > timedelta(minutes=minutes) else None


def checks(domain: Domain) -> dg.AssetChecksDefinition | None:
    """The checks; None without partitioned sources. A schedule runs them, since what is late runs nothing."""
    sources = [s for s in domain.sources.values() if s.partitioned]
    if not sources:
        return None

    @dg.multi_asset_check(
        name="periods_that_are_due",
        specs=[
            dg.AssetCheckSpec(
                FRESH,
                asset=dg.AssetKey(["raw", s.name]),
                description=f"Every period's rows are there {s.due_days:g} days after it ended.",
            )
            for s in sources
        ]
        + [
            dg.AssetCheckSpec(
                TELLS,
                asset=_feed(s),
                description=f"Operations have told something in the last {s.feed.silent_minutes:g} minutes, or never.",
            )
            for s in domain.sources.values()
            if s.feed
        ],
        can_subset=True,
    )
    def freshness(
        context: dg.AssetCheckExecutionContext, lakehouse: LakehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        import pyarrow.compute as pc

        now = clock.now()
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        for source in (s for s in domain.sources.values() if s.feed and _feed(s) in wanted):
            assert source.feed is not None
            events = lakehouse.open().read(table_of(source.name), columns=("received_at",))
            heard = pc.max(events.column("received_at")).as_py() if events is not None else None
            since = silent_since(heard, now, source.feed.silent_minutes)
            yield dg.AssetCheckResult(
                passed=since is None,
                asset_key=_feed(source),
                check_name=TELLS,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"newest": str(heard or "nothing yet"), "at": now.isoformat()},
            )
        for source in (s for s in sources if dg.AssetKey(["raw", s.name]) in wanted):
            ledger = lakehouse.open().ledger(raw(source.name))
            settled = {period for period, entry in ledger.items() if not is_open(entry.report)}
            late = missing(domain, source, settled, now)
            newest = max((p for p in ledger if p is not None), default=None)
            yield dg.AssetCheckResult(
                passed=not late,
                asset_key=dg.AssetKey(["raw", source.name]),
                check_name=FRESH,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={
                    "newest": str(newest or "none"),
                    "missing": ", ".join(f"{p:%Y-%m}" for p in late) or "none",
                    "at": now.isoformat(),
                },
            )

    return freshness
