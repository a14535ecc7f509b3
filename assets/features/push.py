"""Pushes feature rows into the window that is served, each when it is known, never an older over a newer one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.features.online import current
from assets.features.store import open_store
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


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
        self._window: str | None = None
        self._store: FeatureStore | None = None
        self._pushed: dict[str, datetime] = {}
        # By mart, of each entity the newest event_timestamp that was pushed; not a Series, which would be aligned anew
        # at every push.
        self._newest: dict[str, dict[Any, pd.Timestamp]] = {}

    def load(self, marts: Mapping[str, pd.DataFrame]) -> None:
        """Take the rows of a stretch of time; those of the stretch before stay, for a window that is switched to.

        Args:
            marts: by mart, with ``event_timestamp``, ``created_at``, the entity's key as first column, and features.
        """
        import pandas as pd

        for name, frame in marts.items():
            taken = frame.assign(_known=frame[["event_timestamp", "created_at"]].max(axis=1))
            before = self._rows.get(name)
            both = taken if before is None else pd.concat([before, taken], ignore_index=True)
            key = [frame.columns[0], "event_timestamp", "created_at"]
            both = both.drop_duplicates(key, keep="last")
            self._rows[name] = both.sort_values("_known", kind="stable").reset_index(drop=True)

    def forget(self, before: datetime) -> None:
        """Drop rows that were known before an instant that no window to come lies behind."""
        for name, frame in self._rows.items():
            self._rows[name] = frame[frame["_known"] >= before].reset_index(drop=True)

    def push(self, now: datetime) -> int:
        """Push what has become known up to ``now``; returns the number of rows.

        A window that was switched to since is brought from the instant it holds at to now.

        Raises:
            ClearwayError: no window is served, or it cannot be written.
        """
        import pandas as pd

        since = self._open()
        count = 0
        for name, frame in self._rows.items():
            known = frame["_known"]
            first, last = known.searchsorted(since, "right"), known.searchsorted(now, "right")
            due, entity = frame.iloc[first:last], frame.columns[0]
            if name not in self._newest:
                self._newest[name] = frame.iloc[:first].groupby(entity)["event_timestamp"].max().to_dict()
            if due.empty:
                continue
            # A correction of a value that a newer one has replaced is for the offline features only.
            held = [self._newest[name].get(key) for key in due[entity]]
            due = due[~(due["event_timestamp"] < pd.to_datetime(pd.Series(held, due.index), utc=True))]
            if due.empty:
                continue
            # Of several rows of an entity the newest value holds, and of its versions the one known last.
            newest = due.sort_values(["event_timestamp", "created_at"], kind="stable").drop_duplicates(
                entity, keep="last"
            )
            count += len(newest)
            self._newest[name].update(zip(newest[entity], newest["event_timestamp"], strict=True))
            self._write(name, newest.drop(columns="_known"))
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
            self._window, self._newest = str(served["window"]), {}
            self._store = open_store(
                self._project, Path(served["registry"]), Path(served["online_store"]), offline=False
            )
        return self._pushed.get(str(served["window"])) or datetime.fromisoformat(served["as_of"]).astimezone(UTC)

    def _write(self, mart: str, rows: pd.DataFrame) -> None:
        assert self._store is not None
        view = mart.removeprefix(self._prefix)
        try:
            self._store.write_to_online_store(feature_view_name=view, df=rows)
        except Exception as error:  # sqlite3, redis and Feast each raise their own
            raise ClearwayError(
                f"feature view {view}: {len(rows)} rows cannot be pushed: {type(error).__name__}: {error}",
                untouched="what was pushed before.",
                todo="look at the online store; push again, which changes nothing that is there.",
            ) from error
