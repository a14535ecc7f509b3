"""Features of a request from the online window that is being served, through Feast."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from serving.errors import ClearwayError
from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    from feast import FeatureStore


class FeaturesUnavailable(ClearwayError):
    """The online window is missing, broken or out of reach: nothing can be predicted, and nothing is guessed."""


@dataclass
class FeatureRow:
    """Features of one request: values by ``view__feature`` (absent: missing), event time (UTC) by view."""

    values: dict[str, Any] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)


def _redis_connection(uri: str) -> str:
    """Feast's own form of a Redis address, of a ``redis://`` or ``rediss://`` one."""
    url = urlsplit(uri)
    parts = [f"{url.hostname}:{url.port or 6379}", f"db={url.path.strip('/') or 0}"]
    if url.username:
        parts.append(f"username={unquote(url.username)}")
    if url.password:
        parts.append(f"password={unquote(url.password)}")
    if url.scheme == "rediss":
        parts.append("ssl=true")
    return ",".join(parts)


def _local(uri: str) -> Path | None:
    """The file that an address names, or None when it is a remote one."""
    return Path(uri.removeprefix("file://")) if uri.startswith("file://") or "://" not in uri else None


def open_store(project: str, registry: str, online_store: str) -> FeatureStore:
    """A Feast store over one registry and one online store, of any of the supported addresses."""
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore
    from feast.repo_config import RegistryConfig, RepoConfig

    file = _local(online_store)
    online: dict[str, Any]
    if file is not None:
        online = {"type": "sqlite", "path": str(file)}
    else:
        online = {"type": "redis", "connection_string": _redis_connection(online_store)}
    registry_file = _local(registry)
    in_database = registry_file is None and not registry.startswith(("s3:", "gs:"))
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=RegistryConfig(
                registry_type="sql" if in_database else "file",
                path=str(registry_file or registry),
                # A window's registry does not change; a new window is a new pointer.
                cache_ttl_seconds=0,
                # In a shared registry the next materialisation must not close the door on the served one.
                serve_features_while_materializing=in_database,
            ),
            online_store=online,
            entity_key_serialization_version=3,
        )
    )


class OnlineFeatures:
    """Reads one feature service from the window that the pointer names; follows the pointer when it is replaced.

    Not thread-safe: one thread reads.
    """

    def __init__(self, service: str, settings: Settings | None = None) -> None:
        self._service_name = service
        self._settings = settings or get_settings()
        self._seen: tuple[int, int, int] | None = None
        self._files: list[tuple[Path, tuple[int, int]]] = []
        self._store: FeatureStore | None = None
        self._service: Any = None
        self._ttl: dict[str, timedelta | None] = {}
        self.window: str | None = None

    def _unavailable(self, why: str, cause: Exception | None = None) -> FeaturesUnavailable:
        self._store, self._seen = None, None
        error = FeaturesUnavailable(
            f"online features of {self._service_name!r} are unavailable: {why}",
            untouched="the model, its weights and the events.",
            todo="materialise the online window again; requests are answered as soon as the pointer names a whole one.",
        )
        error.__cause__ = cause
        return error

    def refresh(self) -> None:
        """Open the window that the pointer names, if it is another than the open one (else: two ``stat``).

        Raises:
            FeaturesUnavailable: there is no pointer, or what it names cannot be opened.
        """
        pointer = self._settings.online_pointer
        try:
            stat = pointer.stat()
            mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if mark == self._seen and self._store is not None:
                # A file deleted below an open connection would go on answering from the dead: look at the name.
                for file, identity in self._files:
                    now = file.stat()
                    if (now.st_ino, now.st_dev) != identity:
                        self._store = None
                if self._store is not None:
                    return
            named = json.loads(pointer.read_bytes())
            online = self._settings.online_store_uri or str(named["online_store"])
            registry = str(named["registry"])
            self._open(str(named["project"]), registry, online)
            self.window = str(named["window"])
            self._seen = mark
        except FeaturesUnavailable:
            raise
        except FileNotFoundError as error:
            raise self._unavailable(f"{Path(str(error.filename)).name} does not exist", error) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unavailable(f"the pointer cannot be read ({error})", error) from error

    def _open(self, project: str, registry: str, online: str) -> None:
        files = [file for file in (_local(registry), _local(online)) if file is not None]
        # Asked before Feast opens them: SQLite would make an empty file of a missing one.
        self._files = [(file, (stat.st_ino, stat.st_dev)) for file in files for stat in [file.stat()]]
        try:
            self._store = open_store(project, registry, online)
            self._service = self._store.get_feature_service(self._service_name)
            self._ttl = {
                projection.name_to_use(): self._store.get_feature_view(projection.name).ttl or None
                for projection in self._service.feature_view_projections
            }
        except Exception as error:
            raise self._unavailable(f"the store cannot be opened ({type(error).__name__}: {error})", error) from error

    def check(self) -> None:
        """Raise FeaturesUnavailable unless the window is open and answers a look-up of nobody."""
        self.refresh()
        if self._store is None:
            raise self._unavailable("no store is open")
        try:
            keys = {
                key: ""
                for projection in self._service.feature_view_projections
                for key in self._store.get_feature_view(projection.name).join_keys
            }
            types = self._key_types()
            self.read([{key: 0 if types.get(key) in ("Int32", "Int64") else "" for key in keys}])
        except FeaturesUnavailable:
            raise
        except Exception as error:
            raise self._unavailable(f"{type(error).__name__}: {error}", error) from error

    def _key_types(self) -> dict[str, str]:
        assert self._store is not None
        found: dict[str, str] = {}
        for projection in self._service.feature_view_projections:
            for column in self._store.get_feature_view(projection.name).entity_columns:
                found[column.name] = str(column.dtype)
        return found

    def read(self, keys: Sequence[dict[str, Any]], at: Sequence[datetime] | None = None) -> list[FeatureRow]:
        """Features of each entity key, in order. What the store does not hold is absent from ``values``.

        Args:
            at: for each key the instant (aware) at which its values are used: one older than its view's ttl is absent,
                as it is in a training set. Without it every value holds.

        Raises:
            FeaturesUnavailable: the window cannot be opened or read.
        """
        self.refresh()
        if self._store is None:
            raise self._unavailable("no store is open")
        try:
            response = self._store.get_online_features(
                features=self._service, entity_rows=list(keys), full_feature_names=True
            ).proto
        except Exception as error:  # sqlite3, redis, Feast and protobuf each raise their own
            raise self._unavailable(f"the store cannot be read ({type(error).__name__}: {error})", error) from error
        rows = [FeatureRow() for _ in keys]
        for name, vector in zip(response.metadata.feature_names.val, response.results, strict=True):
            view, separator, _ = name.partition("__")
            if not separator:
                continue
            # The store keeps a value until it is replaced, and Feast's own expiry goes by the wall clock.
            ttl, oldest = self._ttl.get(view), [0.0] * len(rows)
            if at is not None and ttl is not None:
                oldest = [used.timestamp() - ttl.total_seconds() for used in at]
            for row, value, time, least in zip(rows, vector.values, vector.event_timestamps, oldest, strict=True):
                kind, seconds = value.WhichOneof("val"), time.seconds + time.nanos / 1e9
                if seconds and view not in row.times:
                    row.times[view] = datetime.fromtimestamp(time.seconds, UTC)
                if kind is not None and kind != "null_val" and seconds >= least:
                    row.values[name] = getattr(value, kind)
        return rows
