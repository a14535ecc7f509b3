"""Feast over one registry file and one online store, with the definitions of the domain's feature repo."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError

if TYPE_CHECKING:
    from feast import FeatureStore


def repo_fingerprint(repo: Path) -> str:
    """Hash of the feature repo's files (hex, 16 characters)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in repo.rglob("*") if p.suffix in (".py", ".yaml")):
        digest.update(str(path.relative_to(repo)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def open_store(project: str, registry: Path, online: Path, *, offline: bool = True) -> FeatureStore:
    """A store over local files; the registry need not exist yet.

    Args:
        project: Feast's name for the domain.
        registry: the registry file.
        online: SQLite file of the online store.
        offline: whether point-in-time joins are needed (DuckDB reads the exported parquet).
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    # Ibis, which Feast reads DuckDB by, says so at every join.
    warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
    from feast import FeatureStore
    from feast.repo_config import RegistryConfig, RepoConfig

    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=RegistryConfig(registry_type="file", path=str(registry), cache_ttl_seconds=0),
            online_store={"type": "sqlite", "path": str(online)},
            offline_store={"type": "duckdb"} if offline else None,
            entity_key_serialization_version=3,
        )
    )


def apply(store: FeatureStore, repo: Path) -> None:
    """Put the repo's definitions into the store's registry and make the online tables.

    Raises:
        ClearwayError: the repo's files cannot be read as Feast definitions.
    """
    from feast.repo_operations import parse_repo

    before, modules = Path.cwd(), {path.stem for path in repo.rglob("*.py")}
    try:
        # Feast imports the repo's modules by their names below the working directory; another domain's may be loaded.
        os.chdir(repo)
        sys.path.insert(0, str(repo))
        for name in modules & set(sys.modules):
            del sys.modules[name]
        contents = parse_repo(repo)
    except Exception as error:
        raise ClearwayError(
            f"{repo}: Feast cannot read the feature definitions: {error}",
            untouched="the served online window and every training set.",
            todo="mend the named file.",
        ) from error
    finally:
        os.chdir(before)
        sys.path.remove(str(repo))
        for name in modules & set(sys.modules):
            del sys.modules[name]
    objects: list[Any] = [
        *contents.entities,
        *contents.feature_views,
        *contents.on_demand_feature_views,
        *contents.feature_services,
    ]
    store.apply(objects)
