"""Registry versions through MLflow's client: local folder of a version, aliases, lists.

MLflow costs seconds and 170 MB to import, so a server whose version is already in the local cache never imports it, and
one whose version is not fetches it in a child process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from serving.errors import ClearwayError
from serving.llm.spec import LLM_FILE
from serving.models.spec import SPEC_FILE
from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
CHAMPION = "champion"
CHALLENGER = "challenger"
# What an artifact of ours holds one of: it says what the version is.
SPEC_FILES = (SPEC_FILE, LLM_FILE)


class RegistryError(ClearwayError):
    """The registry has no such model, version or alias, or cannot be reached."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model; ``created_at`` in ms since the epoch (UTC)."""

    model: str
    version: str
    created_at: int
    run_id: str | None
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


@lru_cache(maxsize=4)
def _client(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _ask(what: str, settings: Settings | None, question: Callable[[MlflowClient], T]) -> T:
    uri = (settings or get_settings()).mlflow
    try:
        return question(_client(uri))
    except Exception as error:  # MLflow lets through its own, SQLAlchemy's and requests' errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RegistryError(
            f"the model registry could not {what}: {reason}",
            untouched="the registry and every running version.",
            todo=f"check that the version exists and that {uri.split('@')[-1]} is reachable.",
        ) from error


def cache_folder(name: str, version: str, settings: Settings | None = None) -> Path:
    """Where the artifact of a version lies once it was fetched."""
    return (settings or get_settings()).home / "models" / name / str(version)


def _fetched(folder: Path) -> bool:
    return any((folder / name).exists() for name in SPEC_FILES)


def _artifact_root(folder: Path, uri: str) -> Path:
    found = [folder] if _fetched(folder) else sorted(p.parent for name in SPEC_FILES for p in folder.rglob(name))
    if len(found) != 1:
        raise RegistryError(
            f"{uri} holds {len(found)} files {' or '.join(SPEC_FILES)}, expected one",
            untouched="every running version.",
            todo="register the version with the folder that TabularModel.save or serving.llm.register wrote.",
        )
    return found[0]


def resolve(name: str, version: str, settings: Settings | None = None) -> Path:
    """Local folder of ``models:/name/version``; fetched once, versions being immutable.

    It holds ``spec.json`` and a booster, or ``llm.json`` and the adapter when there is one.

    Raises:
        RegistryError: no such version, it holds no artifact of ours, or the registry cannot be reached.
    """
    folder = cache_folder(name, version, settings)
    if _fetched(folder):
        return folder
    uri = f"models:/{name}/{version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=folder.parent))
    try:

        def download(client: MlflowClient) -> str:
            import mlflow

            client.get_model_version(name, str(version))
            # Left unset, MLflow makes a database of its own in the working directory.
            mlflow.set_tracking_uri(client.tracking_uri)
            mlflow.set_registry_uri(client.tracking_uri)
            return str(mlflow.artifacts.download_artifacts(uri, dst_path=str(aside)))

        root = _artifact_root(Path(_ask(f"fetch {uri}", settings, download)), uri)
        try:
            os.replace(root, folder)
        except OSError:
            # Another process fetched it first: a version's content is one and the same.
            if not _fetched(folder):
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def resolve_in_child(name: str, version: str, settings: Settings | None = None) -> Path:
    """:func:`resolve` without importing MLflow into this process, for servers that live long."""
    folder = cache_folder(name, version, settings)
    if not _fetched(folder):
        command = [sys.executable, "-m", "serving.models.registry", name, version]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = [line for line in done.stderr.splitlines() if line.strip()][-3:]
            raise RegistryError(f"models:/{name}/{version} could not be fetched: {' / '.join(tail)}")
    return folder


def _version(found: Any, aliases: tuple[str, ...] = ()) -> Version:
    return Version(
        model=found.name,
        version=str(found.version),
        created_at=int(found.creation_timestamp or 0),
        run_id=found.run_id or None,
        aliases=aliases or tuple(found.aliases or ()),
        tags=dict(found.tags or {}),
    )


def alias_version(name: str, alias: str, settings: Settings | None = None) -> str | None:
    """The version that ``alias`` points at, or None. Raises RegistryError when there is no such model."""
    model = _ask(f"read the aliases of {name}", settings, lambda client: client.get_registered_model(name))
    found = dict(model.aliases or {}).get(alias)
    return None if found is None else str(found)


def set_alias(name: str, alias: str, version: str, settings: Settings | None = None) -> None:
    """Point ``alias`` at ``version``; a second call changes nothing."""
    _ask(
        f"point {alias} of {name} at version {version}",
        settings,
        lambda client: client.set_registered_model_alias(name, alias, str(version)),
    )


def versions(name: str, settings: Settings | None = None) -> list[Version]:
    """All versions of a model with their aliases, newest first. An unknown model has none."""

    def question(client: MlflowClient) -> list[Version]:
        models = client.search_registered_models(filter_string=f"name = '{name}'")
        if not models:
            return []
        names: dict[str, list[str]] = {}
        for alias, version in dict(models[0].aliases or {}).items():
            names.setdefault(str(version), []).append(alias)
        found = client.search_model_versions(f"name = '{name}'")
        listed = [_version(item, tuple(sorted(names.get(str(item.version), [])))) for item in found]
        return sorted(listed, key=lambda item: int(item.version), reverse=True)

    return _ask(f"list the versions of {name}", settings, question)


def model_names(settings: Settings | None = None) -> list[str]:
    """Names of all registered models, sorted."""
    found = _ask("list its models", settings, lambda client: client.search_registered_models())
    return sorted(model.name for model in found)


if __name__ == "__main__":
    print(resolve(sys.argv[1], sys.argv[2]))
