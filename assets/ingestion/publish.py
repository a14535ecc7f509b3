"""Ingests one partition of one source: drop, contract, quarantine, branch, audit, main."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.domains import Domain
from assets.ingestion import contracts
from assets.ingestion.corrections import Changes, compare
from assets.ingestion.ingest import Prepared, audit, prepare
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.landing import current_drop
from assets.ingestion.reading import DropRejected, content_id
from assets.ingestion.spec import Source
from serving.errors import ClearwayError
from serving.faults import boundary

if TYPE_CHECKING:
    import pyarrow as pa

CODE_VERSION = "1"  # part of every publish key: raise it when ingestion would publish other rows from the same drop


@dataclass(frozen=True)
class Published:
    """The outcome for one partition.

    Attributes:
        status: ``published``, or ``unchanged`` when the same content was published before by the same contract.
        report: what the ledger holds: file, drop, counts, rules, changes.
        snapshot_id: the snapshot that readers see.
    """

    source: str
    period: date | None
    status: str
    report: dict[str, Any]
    snapshot_id: int


def raw(source: str) -> str:
    """Name of the published table of a source."""
    return f"raw.{source}"


def quarantine(source: str) -> str:
    """Name of the table that keeps a source's quarantined rows."""
    return f"quarantine.{source}"


def ingest(
    domain: Domain, source: Source, period: date | None, lakehouse: Lakehouse, landing: Path, now: datetime, run_id: str
) -> Published:
    """Publish the current drop of a partition; doing it again with the same drop changes nothing.

    Args:
        now: data time; a correction becomes known then.
        run_id: kept with every quarantined row.

    Raises:
        DropRejected: the contract refuses the drop; what is published stays.
        ClearwayError: no drop, a referenced source is not published, or the store cannot be written.
    """
    drop = current_drop(landing, source.name, period)
    ledger = lakehouse.ledger(raw(source.name))
    before = ledger.get(period)
    others, inputs = _others(domain, source, period, lakehouse)
    key = fingerprint([CODE_VERSION, source.fingerprint(), content_id(drop.path), inputs])
    if before is not None and before.key == key:
        return Published(source.name, period, "unchanged", before.report, before.snapshot_id)

    context = contracts.Context(
        period=domain.bounds(period) if period else None,
        references={
            rule.references: contracts.distinct(others[rule.references.source], rule.references.columns)
            for rule in source.rules
            if rule.references
        },
    )
    # The same bytes under another contract correct nothing, so they are not newly known.
    redrop = before is not None and before.report["drop"] != content_id(drop.path)
    prepared = prepare(drop.path, source, context, others, now if before is not None else None)
    table, changes = prepared.table, Changes()
    if before is not None:
        old = lakehouse.read(raw(source.name), period=period)
        assert old is not None
        changes, table = compare(old, table, source.key, tuple(c.name for c in source.columns))
    report = {
        "file": drop.path.name,
        "drop": prepared.content_id,
        **prepared.counts,
        "rules": prepared.rules,
        "extra_columns": list(prepared.extra_columns),
        "correction": vars(changes) if redrop else None,
        # Rows that are gone cannot say when that became known.
        "removed_at": now.isoformat()
        if redrop and changes.removed
        else (before.report.get("removed_at") if before else None),
        "run": run_id,
        "ingested_at": now.isoformat(),
    }
    keep_aside(lakehouse, source, period, prepared, run_id, now)
    boundary("ingestion.quarantined")

    def accept(stored: pa.Table) -> None:
        failed = audit(stored, source, context)
        if stored.num_rows != table.num_rows:
            failed.append(f"{stored.num_rows} rows stored of {table.num_rows}")
        if failed:
            raise DropRejected(
                f"{raw(source.name)}, partition {period}: the staged rows fail their audit: {', '.join(failed)}.",
                reason="audit",
                todo="this is not the drop's fault: report it with the run's log.",
            )

    snapshot = lakehouse.publish(raw(source.name), table, period, key, report, accept)
    return Published(source.name, period, "published", report, snapshot)


def keep_aside(
    lakehouse: Lakehouse, source: Source, period: date | None, prepared: Prepared, run_id: str, now: datetime
) -> None:
    """Write the quarantined rows before the good ones are published, so that a kill in between loses nothing.

    Rows of earlier drops stay: they are what was refused then. Which drop is current, the ledger says.
    """
    import pyarrow as pa

    rows = prepared.quarantine
    size = rows.num_rows
    rows = rows.append_column("_slot", pa.array([_slot(period, prepared.content_id)] * size, pa.string()))
    rows = rows.append_column("period", pa.array([period] * size, pa.date32()))
    rows = rows.append_column("run", pa.array([run_id] * size, pa.string()))
    rows = rows.append_column("at", pa.array([now] * size, pa.timestamp("us", "UTC")))
    lakehouse.replace_rows(quarantine(source.name), rows, "_slot", _slot(period, prepared.content_id))


def _slot(period: date | None, drop: str) -> str:
    return f"{period.isoformat() if period else 'table'}/{drop}"


def current_quarantine(lakehouse: Lakehouse, source: str) -> pa.Table | None:
    """Quarantined rows of the drops that are published now; rows of drops since replaced are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = lakehouse.read(quarantine(source))
    if rows is None:
        return None
    slots = [_slot(period, entry.report["drop"]) for period, entry in lakehouse.ledger(raw(source)).items()]
    return rows.filter(pc.is_in(rows.column("_slot"), pa.array(slots, pa.string())))


def _others(
    domain: Domain, source: Source, period: date | None, lakehouse: Lakehouse
) -> tuple[dict[str, pa.Table], dict[str, str]]:
    """Tables that the contract reads, and the publish key of each."""
    tables, keys = {}, {}
    for name in source.sources_read:
        partitioned = domain.sources[name].partitioned
        part = period if partitioned else None
        entry = lakehouse.ledger(raw(name)).get(part)
        if entry is None:
            raise ClearwayError(
                f"source {source.name}, period {period}: its contract reads source {name}"
                f"{f', period {part}' if part else ''}, which is not published.",
                untouched="everything; the drop was not read.",
                todo=f"materialize raw/{name} first.",
            )
        table = lakehouse.read(raw(name), period=part)
        assert table is not None
        tables[name], keys[name] = table, entry.report["drop"]
    return tables, keys
