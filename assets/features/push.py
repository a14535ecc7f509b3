"""Pushes feature rows into the window that is served, each when it is known, never an older over a newer one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.features.online import current
from assets.features.store import open_store
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from feast import FeatureStore

    Array = np.ndarray[Any, np.dtype[np.int64]]


ROW = "_row"  # of a frame: what Feast writes of the row


class Pusher:
    """Feature rows of a stretch of time, and up to when they were pushed.

    Not for two processes at once: the second would not know what the first has pushed.

    Args:
        pointer: names the served window.
        prefix: of the marts' names, before the name of their view.
    """

    def __init__(self, project: str, pointer: Path, prefix: str = "feat_") -> None:
        self._project, self._pointer, self._prefix = project, pointer, prefix
        self._rows: dict[str, pd.DataFrame] = {}
        self._columns: dict[str, Columns] = {}
        self._views: dict[str, Any] = {}
        self._window: str | None = None
        self._store: FeatureStore | None = None
        self._pushed: dict[str, datetime] = {}
        # By mart, of each entity the newest event_timestamp that was pushed, in ns.
        self._newest: dict[str, dict[Any, int]] = {}

    def load(self, marts: Mapping[str, pd.DataFrame]) -> None:
        """Take the rows of a stretch of time; those of the stretch before stay, for a window that is switched to.

        Args:
            marts: by mart, with ``event_timestamp``, ``created_at``, the entity's key as first column, and features.
        """
        import pandas as pd

        for name, frame in marts.items():
            taken = frame.assign(_known=frame[["event_timestamp", "created_at"]].max(axis=1), **{ROW: None})
            before = self._rows.get(name)
            both = taken if before is None else pd.concat([before, taken], ignore_index=True)
            key = [frame.columns[0], "event_timestamp", "created_at"]
            both = both.drop_duplicates(key, keep="last")
            self._rows[name] = both.sort_values("_known", kind="stable").reset_index(drop=True)
        self._columns = {}

    def forget(self, before: datetime) -> None:
        """Drop rows that were known before an instant that no window to come lies behind."""
        for name, frame in self._rows.items():
            self._rows[name] = frame[frame["_known"] >= before].reset_index(drop=True)
        self._columns = {}

    def push(self, now: datetime) -> int:
        """Push what has become known up to ``now``; returns the number of rows.

        A window that was switched to since is brought from the instant it holds at to now.

        Raises:
            ClearwayError: no window is served, or it cannot be written.
        """
        since, count = _ns(self._open()), 0
        for name in self._rows:
            if name not in self._columns:
                self._columns[name] = self._prepared(name)
            columns = self._columns[name]
            first, last = (int(columns.known.searchsorted(instant, "right")) for instant in (since, _ns(now)))
            if name not in self._newest:
                self._newest[name] = columns.newest(first)
            due = columns.due(first, last, self._newest[name])
            if due:
                self._write(name, [columns.rows[i] for i in due.values()])
                self._newest[name].update((key, int(columns.event[i])) for key, i in due.items())
                count += len(due)
        assert self._window is not None
        self._pushed[self._window] = now
        return count

    def _open(self) -> datetime:
        served = current(self._pointer)
        if served is None:
            raise ClearwayError(
                f"{self._pointer}: no online window is served, so nothing can be pushed.",
                untouched="everything.",
                todo="materialize features/online_window first.",
            )
        if served["window"] != self._window or self._store is None:
            self._window, self._newest, self._columns, self._views = str(served["window"]), {}, {}, {}
            for frame in self._rows.values():
                frame[ROW] = None  # another window may have other definitions
            self._store = open_store(
                self._project, Path(served["registry"]), Path(served["online_store"]), offline=False
            )
        return self._pushed.get(str(served["window"])) or datetime.fromisoformat(served["as_of"]).astimezone(UTC)

    def _prepared(self, mart: str) -> Columns:
        """A mart's rows as they are written, each made once: to make them costs more than to write them."""
        frame, view = self._rows[mart], mart.removeprefix(self._prefix)
        fresh = frame[ROW].isna().to_numpy()
        if fresh.any():
            made = self._feast(view, int(fresh.sum()), lambda store: _feast_rows(store, view, frame[fresh]))
            rows = frame[ROW].tolist()
            for i, row in zip(fresh.nonzero()[0].tolist(), made, strict=True):
                rows[i] = row
            frame[ROW] = rows
        entity, event, created, known = (
            frame[column] for column in (frame.columns[0], "event_timestamp", "created_at", "_known")
        )
        return Columns(entity.tolist(), _all_ns(event), _all_ns(created), _all_ns(known), frame[ROW].tolist())

    def _write(self, mart: str, rows: list[Any]) -> None:
        view = mart.removeprefix(self._prefix)

        def write(store: FeatureStore) -> None:
            # Feast reads a view anew at every call, for a quarter of what the writing takes.
            if view not in self._views:
                self._views[view] = store.get_feature_view(view)
            store._get_provider().online_write_batch(store.config, self._views[view], rows, None)

        self._feast(view, len(rows), write)

    def _feast(self, view: str, count: int, what: Callable[[FeatureStore], Any]) -> Any:
        assert self._store is not None
        try:
            return what(self._store)
        except Exception as error:  # sqlite3, redis and Feast each raise their own
            raise ClearwayError(
                f"feature view {view}: {count} rows cannot be pushed: {type(error).__name__}: {error}",
                untouched="what was pushed before.",
                todo="look at the online store; push again, which changes nothing that is there.",
            ) from error


@dataclass(frozen=True)
class Columns:
    """A mart's rows in the order in which they became known; instants in ns since the epoch, shape (rows,)."""

    entity: list[Any]
    event: Array
    created: Array
    known: Array
    rows: list[Any]

    def newest(self, until: int) -> dict[Any, int]:
        """The newest event_timestamp of each entity among the first ``until`` rows."""
        found: dict[Any, int] = {}
        for key, event in zip(self.entity[:until], self.event[:until].tolist(), strict=True):
            found[key] = max(event, found.get(key, event))
        return found

    def due(self, first: int, last: int, newest: Mapping[Any, int]) -> dict[Any, int]:
        """By entity the row of ``first`` to ``last`` that holds: of the newest value the version known last.

        A correction of a value that a newer one has replaced is for the offline features only.
        """
        found: dict[Any, int] = {}
        for i in range(first, last):
            key = self.entity[i]
            if (pushed := newest.get(key)) is not None and self.event[i] < pushed:
                continue
            j = found.get(key)
            if j is None or (self.event[i], self.created[i]) >= (self.event[j], self.created[j]):
                found[key] = i
        return found


def _feast_rows(store: FeatureStore, view: str, frame: pd.DataFrame) -> list[Any]:
    """Rows as Feast's online stores take them: entity key, values, event and created timestamp."""
    features = frame.drop(columns=["_known", ROW])
    provider: Any = store._get_provider()
    return list(provider._prep_rows_to_write_for_ingestion(store.get_feature_view(view), features))


def _ns(instant: datetime) -> int:
    import pandas as pd

    return int(pd.Timestamp(instant).value)


def _all_ns(instants: pd.Series) -> Array:
    import numpy as np
    import pandas as pd

    return np.asarray(pd.to_datetime(instants, utc=True).dt.as_unit("ns").astype("int64"), dtype=np.int64)
