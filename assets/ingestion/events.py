"""Prediction events: closed segments become rows of ``events.predictions``, each segment once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.ingestion.lakehouse import Lakehouse
from serving.events.reader import closed_segments, read_segment
from serving.faults import boundary

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "events.predictions"
PUBLISHED = ".published"
AT_ONCE = 20  # segments that are published by one commit
TEXTS = ("event_id", "request_id", "model", "version", "arm", "caller", "window", "label")
DOCUMENTS = ("request", "features", "feature_times")
NUMBERS = ("score", "latency_ms", "input_skew")
INSTANTS = ("prediction_time", "served_at")


@dataclass(frozen=True)
class PublishedEvents:
    """What was published: segments, events, and events that an earlier segment already held."""

    segments: int
    events: int
    doubled: int


def publish_events(lakehouse: Lakehouse, events: Path) -> PublishedEvents:
    """Publish every closed segment.

    A segment replaces its own rows, and is renamed only after they are published: killed in between, the next run
    publishes the same rows in the same place.
    """
    import pyarrow as pa

    segments = closed_segments(events)
    count = doubled = 0
    for begin in range(0, len(segments), AT_ONCE):
        tables: dict[str, pa.Table] = {}
        names: dict[Path, str] = {}
        for segment in segments[begin : begin + AT_ONCE]:
            name = names[segment] = hashlib.sha256(segment.read_bytes()).hexdigest()[:24]
            rows: dict[str, dict[str, Any]] = {}
            for event in read_segment(segment):
                doubled += event["event_id"] in rows
                rows[event["event_id"]] = event
            tables[name] = _table(list(rows.values()), name, segment)
        table = pa.concat_tables(tables.values())
        lakehouse.replace_rows(TABLE, table, "_segment", *tables)
        boundary("events.published")
        for segment, name in names.items():
            segment.rename(segment.with_name(f"{segment.name}.{name}{PUBLISHED}"))
        count += table.num_rows
    return PublishedEvents(len(segments), count, doubled)


def _table(events: list[dict[str, Any]], segment: str, path: Path) -> pa.Table:
    import pyarrow as pa

    def texts(name: str) -> pa.Array:
        return pa.array([None if e.get(name) is None else str(e[name]) for e in events], pa.string())

    def instants(name: str) -> pa.Array:
        return pa.array(
            [datetime.fromisoformat(e[name]) if e.get(name) else None for e in events], pa.timestamp("us", "UTC")
        )

    def numbers(name: str) -> pa.Array:
        return pa.array([e.get(name) for e in events], pa.float64())

    def documents(name: str) -> pa.Array:
        return pa.array(
            [json.dumps(e[name], sort_keys=True) if e.get(name) is not None else None for e in events], pa.string()
        )

    return pa.table(
        {
            **{n: texts(n) for n in TEXTS},
            **{n: documents(n) for n in DOCUMENTS},
            **{n: numbers(n) for n in NUMBERS},
            **{n: instants(n) for n in INSTANTS},
            "_segment": pa.array([segment] * len(events), pa.string()),
            "_process": pa.array([path.parent.name] * len(events), pa.string()),
        }
    )
