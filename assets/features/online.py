"""The online window: materialised aside, compared with the offline features, then switched to.

A window is a folder with its own registry and its own SQLite file. Servers follow the pointer, which one
``os.replace`` moves; the window before stays until the next one, so that a server that is still reading it can finish.
The pointer names both, so that windows of killed runs are told from the one before by name and not by age.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.features.store import apply, open_store
from assets.features.training_set import historical_features
from serving.errors import ClearwayError
from serving.faults import boundary

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Parity:
    """Online against offline, for the same entities at the same instant.

    Attributes:
        entities: entity rows compared.
        values: values compared.
        differing: by feature, how many values differ by more than 1e-6 of their size, or are null on one side.
    """

    entities: int
    values: int
    differing: dict[str, int]

    @property
    def holds(self) -> bool:
        return not self.differing


class ParityFailed(ClearwayError):
    """The window does not say what the offline features say; the served window stays."""

    def __init__(self, parity: Parity) -> None:
        self.parity = parity
        worst = ", ".join(f"{k} ({v})" for k, v in sorted(parity.differing.items(), key=lambda x: -x[1])[:5])
        super().__init__(
            f"online window: {len(parity.differing)} features differ in {parity.entities} entities: {worst}.",
            untouched="the served window.",
            todo="materialize the feature tables and the window again; if it stays, compare the view with its mart.",
        )


def current(pointer: Path) -> dict[str, Any] | None:
    """What the pointer says, or None when no window was ever published."""
    try:
        content: dict[str, Any] = json.loads(pointer.read_text())
    except FileNotFoundError:
        return None
    return content


def materialize(project: str, repo: Path, folder: Path, as_of: datetime) -> tuple[FeatureStore, dict[str, Any]]:
    """Fill a new window with the latest values that hold at ``as_of``.

    Returns:
        The store over the window, and what the pointer would say.
    """
    window = f"{as_of:%Y%m%dT%H%M}-{uuid.uuid4().hex[:8]}"
    where = folder / window
    where.mkdir(parents=True)
    try:
        store = open_store(project, where / "registry.db", where / "online.db")
        apply(store, repo)
        for view in store.list_feature_views():
            if view.online:
                start = as_of - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=as_of.tzinfo)
                with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its progress
                    store.materialize(start, as_of, feature_views=[view.name])
    except BaseException:
        shutil.rmtree(where, ignore_errors=True)
        raise
    pointer = {
        "window": window,
        "project": project,
        "registry": str(where / "registry.db"),
        "online_store": str(where / "online.db"),
        "as_of": as_of.isoformat(),
    }
    return store, pointer


def compare(store: FeatureStore, service: str, keys: pd.DataFrame, as_of: datetime) -> Parity:
    """Read the same entities online, and offline at ``as_of``.

    Args:
        keys: one row an entity, the service's join keys as columns.
    """
    import numpy as np

    offline = historical_features(store, service, keys.assign(event_timestamp=as_of), as_known_then=False)
    response = store.get_online_features(
        features=store.get_feature_service(service),
        entity_rows={column: keys[column].tolist() for column in keys.columns},
        full_feature_names=True,
    ).to_df()
    differing = {}
    for column in offline.columns:
        mine = offline[column].astype("float64").to_numpy()
        theirs = response[column].astype("float64").to_numpy()
        one_missing = np.isnan(mine) != np.isnan(theirs)
        apart = np.abs(mine - theirs) > TOLERANCE * np.maximum(1, np.abs(mine))
        if count := int((one_missing | np.nan_to_num(apart, nan=0).astype(bool)).sum()):
            differing[column] = count
    return Parity(len(keys), offline.size, differing)


def switch(pointer: Path, content: dict[str, Any]) -> None:
    """Serve the window; the one that was served stays for those who still read it, all others are removed."""
    boundary("features.materialized")
    served = current(pointer)
    part = pointer.with_suffix(".part")
    with part.open("w") as file:
        json.dump({**content, "previous": served["window"] if served else None}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, pointer)
    boundary("features.switched")
    prune(pointer)


def prune(pointer: Path) -> None:
    """Remove the windows that are neither served nor were served last: older ones, and those of killed runs."""
    served = current(pointer)
    wanted = {served["window"], served.get("previous")} if served else set()
    for window in pointer.parent.iterdir():
        if window.is_dir() and window.name not in wanted:
            shutil.rmtree(window, ignore_errors=True)


@contextlib.contextmanager
def only_writer(pointer: Path) -> Iterator[None]:
    """One materialisation at a time, whoever started it: one would take the other's window for a killed run's."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    with (pointer.parent / "writer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def discard(pointer: Path, content: dict[str, Any]) -> None:
    """Remove a window that is not going to be served."""
    shutil.rmtree(pointer.parent / content["window"], ignore_errors=True)
