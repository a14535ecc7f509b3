"""Features joined to examples, kept by month: one whose inputs and examples are as before is not joined again.

A model that is reviewed every month is joined to all its months each time, and only the newest of them are new.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from assets.declared import fingerprint
from assets.domains import following

if TYPE_CHECKING:
    import pandas as pd

CODE_VERSION = "1"
KEPT = 60  # months of a model; the ones that were used longest ago go first
FOLDER = "joined"


def until(inputs: Mapping[str, str], period: date) -> dict[str, str]:
    """Of the keys ``<mart>/<period>`` those that can bear on predictions of a period.

    Its own and earlier ones, and the next one's: rows of its last hours lie there by another clock.
    """
    found, last = {}, following(period)
    for name, key in inputs.items():
        _, _, of = name.partition("/")
        try:
            later = date.fromisoformat(of) > last
        except ValueError:  # of something without periods
            later = False
        if not later:
            found[name] = key
    return found


def joined(
    entities: pd.DataFrame,
    periods: pd.Series,
    inputs: Mapping[str, str],
    folder: Path,
    join: Callable[[pd.DataFrame], pd.DataFrame],
) -> pd.DataFrame:
    """``join(entities)``, of which the months that were joined before are read back.

    Args:
        entities: join keys and ``event_timestamp``, a row an example.
        periods: month of each row, aligned with ``entities``.
        inputs: names and keys of what features are built from, with what the join itself depends on.
        folder: where the model's sets lie.
        join: gives a row of features for each row of entities, with its index.
    """
    import pandas as pd

    place, parts, due = folder / FOLDER, {}, {}
    for period, rows in entities.groupby(pd.to_datetime(periods).dt.date, sort=True):
        content = hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()
        key = fingerprint([CODE_VERSION, content, list(rows.columns), until(inputs, period)])
        path = place / f"{key}.parquet"
        if path.exists():
            os.utime(path)
            parts[period] = pd.read_parquet(path).set_index(rows.index)
        else:
            due[period] = (path, rows)
    if due:
        # Together: a join costs more by its beginning than by its rows.
        features = join(pd.concat([rows for _, rows in due.values()]))
        place.mkdir(parents=True, exist_ok=True)
        for period, (path, rows) in due.items():
            parts[period] = features.loc[rows.index]
            part = path.with_suffix(".part")
            parts[period].to_parquet(part, index=False)
            os.replace(part, path)
        kept = sorted(place.glob("*.parquet"), key=lambda p: p.stat().st_mtime, reverse=True)
        for path in kept[KEPT:]:
            path.unlink(missing_ok=True)
    return pd.concat(parts.values()).loc[entities.index]
