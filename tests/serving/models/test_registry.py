"""Versions come out of a real registry as the folder that training wrote."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from serving.models import registry
from serving.models.model import TabularModel
from serving.runtime.program import clearway_environment, python
from serving.settings import PROJECT, Settings
from tests.serving.models import toy

pytestmark = pytest.mark.integration


def test_a_version_is_fetched_once_and_then_needs_no_registry(home: Settings, tmp_path: Path) -> None:
    command = python("serving.models.registry", toy.MODEL, "1")
    environment = {**os.environ, **clearway_environment(home), "PYTHONPATH": str(PROJECT)}
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []  # MLflow left no database of its own where it ran
    folder = registry.resolve(toy.MODEL, "1", home)
    assert folder == home.home / "models" / toy.MODEL / "1"
    assert TabularModel.load(folder).spec == toy.spec()
    unreachable = home.model_copy(update={"mlflow_tracking_uri": f"sqlite:///{tmp_path}/no/such/folder/db"})
    assert registry.resolve(toy.MODEL, "1", unreachable) == folder
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1"]  # nothing left aside


def test_what_is_not_there_is_named(home: Settings) -> None:
    with pytest.raises(registry.RegistryError, match="models:/wilting/99"):
        registry.resolve(toy.MODEL, "99", home)
    with pytest.raises(registry.RegistryError, match="point champion of wilting at version 99"):
        registry.set_alias(toy.MODEL, registry.CHAMPION, "99", home)
    assert registry.versions("nobody", home) == []
    assert registry.model_names(home) == [toy.MODEL]


def test_aliases_move_and_are_listed(home: Settings) -> None:
    assert registry.alias_version(toy.MODEL, registry.CHAMPION, home) is None
    for version in ("1", "2", "2"):
        registry.set_alias(toy.MODEL, registry.CHAMPION, version, home)
        assert registry.alias_version(toy.MODEL, registry.CHAMPION, home) == version
    assert [(v.version, v.aliases) for v in registry.versions(toy.MODEL, home)] == [("2", ("champion",)), ("1", ())]


def test_a_version_without_our_artifact_is_refused(home: Settings, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=home.mlflow, registry_uri=home.mlflow)
    run = client.create_run(client.get_experiment_by_name("toy").experiment_id)
    (tmp_path / "note.txt").write_text("nothing")
    client.log_artifacts(run.info.run_id, str(tmp_path), "model")
    client.create_registered_model("empty")
    client.create_model_version("empty", f"runs:/{run.info.run_id}/model", run.info.run_id)
    with pytest.raises(registry.RegistryError, match=r"0 files spec\.json"):
        registry.resolve("empty", "1", home)
    assert not registry.cache_folder("empty", "1", home).exists()
    client.delete_registered_model("empty")
