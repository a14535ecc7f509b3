"""Rows of a source as the events of its feed say them now: of each row, what was known last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.reading import coerce
from assets.ingestion.spec import Source

if TYPE_CHECKING:
    import pandas as pd


def table_of(source: str) -> str:
    """Name of the table of all events of a source."""
    return f"feed.{source}"


def current_rows(source: Source, lakehouse: Lakehouse, period: date) -> tuple[pd.DataFrame, set[str]]:
    """What the events of a period say of its rows now, and the ids of these events.

    Returns:
        One row a key with the declared columns, as text or missing, and ``_known_at``: missing for what was known as
        it happened, else when a change or a late event became known.
    """
    import pandas as pd
    from pyiceberg.expressions import And, EqualTo, IsNull

    table = lakehouse.load(table_of(source.name))
    assert table is not None
    only = And(EqualTo("period", period.isoformat()), IsNull("refused"))  # type: ignore[call-arg,arg-type]
    # An event that came again is the one that came first.
    events = table.scan(row_filter=only).to_pandas().sort_values("received_at", kind="stable")
    events = events.drop_duplicates("_event")
    records = [json.loads(r) for r in events["record"]]
    # One spelling of a value, so that 5 and 5.0, or two spellings of an instant, are no change.
    rows = pd.DataFrame({c.name: _spelt([r.get(c.name) for r in records], c.type) for c in source.columns})
    rows[["_event", "_told", "_received"]] = events[["_event", "known_at", "received_at"]].to_numpy()
    return fold(rows, source), set(events["_event"])


def _spelt(values: Sequence[Any], kind: Any) -> pd.Series:
    """Values of JSON as text, as their type spells them; what is not of the type as it came, for the contract."""
    import pandas as pd
    import pyarrow as pa

    texts = pa.array([None if _missing(v) else str(v) for v in values], pa.string())
    typed, failed = coerce(texts, kind)
    spelt = typed.cast(pa.string()).to_pylist()
    return pd.Series(
        [t if bad else s for t, s, bad in zip(texts.to_pylist(), spelt, failed, strict=True)], dtype=object
    )


def _missing(value: Any) -> bool:
    return value is None or value != value


def fold(rows: pd.DataFrame, source: Source) -> pd.DataFrame:
    """One row a key, of rows with ``_event``, ``_told`` (known at) and ``_received`` in any order. Pure."""
    import numpy as np
    import pandas as pd

    assert source.feed is not None
    values = [c.name for c in source.columns if c.name not in source.key]
    key = list(source.key)
    ordered = rows.sort_values(["_told", "_received", "_event"], kind="stable")
    groups = ordered.groupby(key, dropna=False, sort=False)
    before = groups[values].shift()
    changed = (before.notna() & (before != ordered[values])).any(axis=1)
    late = (ordered["_received"] - ordered["_told"]) > pd.Timedelta(minutes=source.feed.late_minutes)
    instant = ordered["_told"].where(~late, ordered["_received"]).where(changed | late, np.datetime64("NaT"))
    ordered["_known_at"] = pd.to_datetime(instant, utc=True)
    ordered["_known_at"] = ordered.groupby(key, dropna=False, sort=False)["_known_at"].transform("max")
    last = ordered.drop_duplicates(key, keep="last")
    return last.sort_values(key, kind="stable")[[c.name for c in source.columns] + ["_known_at"]].reset_index(drop=True)
