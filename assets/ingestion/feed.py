"""The operations feed of a source: events as they become known, kept, judged by its contract, published until settled.

Events come at least once and in any order. All are kept in ``feed.<source>``. Of a row's events the one that was known
last says what the row is; until a file for the period was dropped, these rows are the period's. The file then corrects
them like any other drop, and the difference is reported. What the feed says of a settled period changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.domains import Domain
from assets.ingestion import contracts
from assets.ingestion.corrections import compare
from assets.ingestion.feed_rows import current_rows, table_of
from assets.ingestion.ingest import Prepared, judge
from assets.ingestion.lakehouse import PERIOD, Lakehouse
from assets.ingestion.publish import CODE_VERSION, keep_aside, raw
from assets.ingestion.reading import RawDrop
from assets.ingestion.spec import RowBand, Rule, Source
from serving.errors import ClearwayError
from serving.events.reader import closed_segments
from serving.faults import boundary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PUBLISHED = ".published"
FILES = "*.jsonl"
AT_ONCE = 100  # segments that are kept by one commit
AHEAD = timedelta(minutes=5)  # by which the clock of who tells may be ahead of ours
FEED = "feed-"  # how the ledger's drop begins while a period is the feed's


@dataclass(frozen=True)
class PeriodOfFeed:
    """What the feed makes of a period: ``settled`` leaves it as the file has it."""

    period: date
    status: str
    rows: int
    quarantined: int


@dataclass(frozen=True)
class FeedPublished:
    """Counts of one publication: ``doubled`` events were told before, ``late`` ones long after they were known."""

    segments: int = 0
    events: int = 0
    doubled: int = 0
    late: int = 0
    refused: int = 0
    periods: list[PeriodOfFeed] = field(default_factory=list)


def is_open(report: dict[str, Any]) -> bool:
    """Whether a published partition is the feed's, and no file has settled it."""
    return str(report["drop"]).startswith(FEED)


def publish_feed(
    domain: Domain, source: Source, lakehouse: Lakehouse, feeds: Path, landing: Path, now: datetime, run_id: str
) -> FeedPublished:
    """Publish what came since the last time, and the periods that it is about.

    Args:
        feeds: closed segments below ``<source>/<process>/`` are read, of what was pushed.
        landing: files ``feeds/<source>/*.jsonl`` are read, a line an event as it is pushed.
        now: data time; when a file's events were received.

    Raises:
        ClearwayError: a segment cannot be read, or a store cannot be written.
    """
    import pyarrow as pa

    assert source.feed is not None
    files = sorted((landing / "feeds" / source.name).glob(FILES))
    segments = [*closed_segments(feeds / source.name), *files]
    counts: Counter[str] = Counter()
    touched: set[date] = set()
    kept = _kept(lakehouse, source)
    seen: set[str] = set().union(*kept.values())
    late = timedelta(minutes=source.feed.late_minutes)
    for begin in range(0, len(segments), AT_ONCE):
        rows: dict[str, pa.Table] = {}
        names: dict[Path, str] = {}
        for segment in segments[begin : begin + AT_ONCE]:
            name = names[segment] = hashlib.sha256(segment.read_bytes()).hexdigest()[:24]
            events = list(_events(segment, source, domain, now, received=segment not in files))
            fresh: dict[str, dict[str, Any]] = {}
            for event in events:
                fresh.setdefault(event["_event"], event)
            counts["events"] += len(events)
            counts["doubled"] += len(events) - len(fresh) + len(fresh.keys() & seen)
            counts["late"] += sum(e["received_at"] - e["known_at"] > late for e in fresh.values() if e["known_at"])
            counts["refused"] += sum(e["refused"] is not None for e in fresh.values())
            touched |= {e["period"] for e in fresh.values() if e["period"] is not None}
            rows[name] = _stored(list(fresh.values()), name)
            seen |= fresh.keys()
            for event in fresh.values():
                kept.setdefault(event["period"], set()).add(event["_event"])
        lakehouse.replace_rows(table_of(source.name), pa.concat_tables(rows.values()), "_segment", *rows)
        boundary("feed.kept")
        for segment, name in names.items():
            segment.rename(segment.with_name(f"{segment.name}.{name}{PUBLISHED}"))
    total = FeedPublished(len(segments), counts["events"], counts["doubled"], counts["late"], counts["refused"])
    # Periods of events that were kept by a run that was killed before it published them are found by their key.
    failed: list[ClearwayError] = []
    for period in sorted(touched | _behind(source, lakehouse, kept)):
        try:
            total.periods.append(_publish_period(domain, source, lakehouse, period, now, run_id))
        except ClearwayError as error:  # the other periods do not wait for this one
            failed.append(error)
    if failed:
        raise failed[0]
    return total


def _events(path: Path, source: Source, domain: Domain, now: datetime, received: bool) -> Iterator[dict[str, Any]]:
    """Events of a segment or file; ``received`` says that the gateway noted when each came, which nobody else may."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        event: dict[str, Any] = {"_event": hashlib.sha256(line).hexdigest()[:24], "refused": None, "period": None}
        event |= {"known_at": None, "received_at": now, "record": line.decode(errors="replace")}
        try:
            content = json.loads(line)
            record = content["record"]
            known_at = datetime.fromisoformat(content["known_at"])
            if known_at.tzinfo is None or not isinstance(record, dict):
                raise ValueError("known_at needs an offset, record is an object")
            event["_event"] = _identity(record, known_at)
            event |= {"known_at": known_at, "record": json.dumps(record, sort_keys=True)}
            if received:
                event["received_at"] = datetime.fromisoformat(content["received_at"])
            if known_at - event["received_at"] > AHEAD:
                raise ValueError(f"known_at {content['known_at']} lies after it was received")
            event["period"] = _period(domain, source, record)
        except (ValueError, KeyError, TypeError) as error:
            event["refused"] = f"{path.name}, line {number}: {type(error).__name__}: {error}"
        yield event


def _identity(record: dict[str, Any], known_at: datetime) -> str:
    """The same fact, known at the same time, is the same event however often it is sent."""
    text = json.dumps([record, known_at.timestamp()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _period(domain: Domain, source: Source, record: dict[str, Any]) -> date:
    """The period of a record by its instant.

    Raises:
        ValueError: the instant is absent, is none, or lies in no period of the domain.
    """
    at = datetime.fromisoformat(str(record[source.dated]))
    if at.tzinfo is None:
        raise ValueError(f"{source.dated} needs an offset")
    period = at.astimezone(domain.zone).date().replace(day=1)
    if period not in domain.periods:
        raise ValueError(f"{source.dated} lies in no period of the domain")
    return period


def _stored(events: list[dict[str, Any]], segment: str) -> pa.Table:
    import pyarrow as pa

    instant = pa.timestamp("us", "UTC")
    kinds = {"_event": pa.string(), "record": pa.string(), "refused": pa.string(), "period": pa.date32(),
             "known_at": instant, "received_at": instant}  # fmt: skip
    columns = {name: pa.array([e[name] for e in events], kind) for name, kind in kinds.items()}
    return pa.table({**columns, "_segment": pa.array([segment] * len(events), pa.string())})


def _kept(lakehouse: Lakehouse, source: Source) -> dict[date | None, set[str]]:
    """Ids of all events that were kept, by period; of what belongs to none under None."""
    rows = lakehouse.read(table_of(source.name), columns=("_event", "period"))
    found: dict[date | None, set[str]] = {}
    if rows is None:
        return found
    for ident, period in zip(rows.column("_event").to_pylist(), rows.column("period").to_pylist(), strict=True):
        found.setdefault(period, set()).add(ident)
    return found


def _behind(source: Source, lakehouse: Lakehouse, kept: dict[date | None, set[str]]) -> set[date]:
    """Open periods whose published rows are not those of all their events."""
    ledger = lakehouse.ledger(raw(source.name))
    return {
        period
        for period, ids in kept.items()
        if period is not None
        and ((entry := ledger.get(period)) is None or (is_open(entry.report) and entry.report["drop"] != _drop(ids)))
    }


def _drop(events: set[str]) -> str:
    return FEED + fingerprint(sorted(events))


def _publish_period(
    domain: Domain, source: Source, lakehouse: Lakehouse, period: date, now: datetime, run_id: str
) -> PeriodOfFeed:
    before = lakehouse.ledger(raw(source.name)).get(period)
    if before is not None and not is_open(before.report):
        return PeriodOfFeed(period, "settled", before.report["published"], before.report["quarantined"])
    rows, ids = current_rows(source, lakehouse, period)
    drop = _drop(ids)
    key = fingerprint([CODE_VERSION, source.fingerprint(), drop])
    if before is not None and before.key == key:
        return PeriodOfFeed(period, "unchanged", before.report["published"], before.report["quarantined"])
    table, prepared = judged(domain, source, lakehouse, period, rows, drop)
    changes = None
    if before is not None:
        old = lakehouse.read(raw(source.name), period=period)
        assert old is not None
        changes, _ = compare(old, table, source.key, tuple(c.name for c in source.columns))
    report = {
        "file": "feed",
        "drop": drop,
        **prepared.counts,
        "rules": prepared.rules,
        "extra_columns": list(prepared.extra_columns),
        "correction": vars(changes) if changes is not None and changes.any else None,
        "removed_at": before.report.get("removed_at") if before else None,
        "run": run_id,
        "ingested_at": now.isoformat(),
    }
    keep_aside(lakehouse, source, period, prepared, run_id, now)

    def accept(stored: pa.Table) -> None:
        if stored.num_rows != table.num_rows:
            raise ClearwayError(
                f"{raw(source.name)}, partition {period}: {stored.num_rows} rows stored of {table.num_rows}.",
                untouched="the published rows; readers still see what they saw before.",
                todo="run the feed again.",
            )

    lakehouse.publish(raw(source.name), table, period, key, report, accept)
    return PeriodOfFeed(period, "published", table.num_rows, prepared.quarantine.num_rows)


def _read_by(rule: Rule) -> set[str]:
    """Other sources that one rule reads."""
    correct = rule.repair.correct if rule.repair else None
    return {part.source for part in (rule.references, correct) if part is not None}


def judged(
    domain: Domain, source: Source, lakehouse: Lakehouse, period: date, rows: pd.DataFrame, drop: str
) -> tuple[pa.Table, Prepared]:
    """Rows by the source's contract, without what it says of a whole drop: a month that is not over is no file."""
    import numpy as np
    import pyarrow as pa

    others = {name: lakehouse.read(raw(name), period=period if domain.sources[name].partitioned else None)
              for name in source.sources_read}  # fmt: skip
    absent = {name for name, table in others.items() if table is None}
    # One row that breaks a rule is no reason to refuse a month that is not over.
    kept = tuple(
        r.model_copy(update={"action": "quarantine"}) if r.action == "reject" else r
        for r in source.rules
        if r.on_rows and not absent.intersection(_read_by(r))
    )
    eased = source.model_copy(update={"rows": RowBand(min=0, max=10**9), "rules": kept, "max_quarantined_share": 1.0})
    context = contracts.Context(
        period=domain.bounds(period),
        references={
            rule.references: contracts.distinct(found, rule.references.columns)
            for rule in kept
            if rule.references and (found := others[rule.references.source]) is not None
        },
    )
    texts = pa.table({c.name: pa.array(rows[c.name].tolist(), pa.string()) for c in source.columns})
    raw_drop = RawDrop(drop, texts, np.arange(1, len(rows) + 1, dtype=np.int64), [], ())
    tables = {name: table for name, table in others.items() if table is not None}
    prepared = judge(raw_drop, Path(f"feed of {source.name}, {period:%Y-%m}"), eased, context, tables, None)
    kept_rows = np.array(prepared.table.column("_row").to_pylist(), dtype=np.int64) - 1
    instants = pa.array(rows["_known_at"].iloc[kept_rows], pa.timestamp("us", "UTC"), from_pandas=True)
    position = prepared.table.column_names.index("_known_at")
    table = prepared.table.set_column(position, prepared.table.schema.field(position), instants)
    assert PERIOD not in table.column_names
    return table, prepared
