"""The copilot's job with a real tuning and a real vLLM: too short a tuning is judged, refused, and changes nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.domains import load_domain
from assets.training.llm import assets as copilot
from assets.training.llm import version as versions
from assets.training.llm.gates import GATES
from assets.training.llm.spec import CopilotDeclaration, read_copilot
from assets.training.resources import RegistryResource
from assets.training.tabular.register import client
from assets.warehouse.manifest import project_fingerprint
from assets.warehouse.resources import WarehouseResource
from serving.models.registry import alias_version, resolve
from serving.semantics.asking import COPILOT
from serving.settings import PROJECT, Settings
from tests.dbt_project.building import say_what_it_means
from tests.dbt_project.fixtures import warehouse  # noqa: F401
from tests.serving.llm import real

pytestmark = [*real.MARKS, pytest.mark.end_to_end, pytest.mark.faults]
STEPS = 4


@dataclass
class Home:
    settings: Settings
    assets: list[dg.AssetsDefinition]

    def run(self, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        given: dict[str, Any] = {
            "warehouse": WarehouseResource(folder=str(self.settings.warehouse)),
            "registry": RegistryResource(tracking_uri=self.settings.mlflow),
            "pipes": dg.PipesSubprocessClient(),
        }
        return dg.materialize(self.assets, resources=given, raise_on_error=raise_on_error)

    def versions(self) -> list[str]:
        found = client(self.settings).search_model_versions(f"name = '{COPILOT}'")
        return sorted(str(v.version) for v in found)


def shortly(declared: CopilotDeclaration) -> CopilotDeclaration:
    tuning = {**declared.tuning.model_dump(), "steps": STEPS, "every": 2, "batch": 2, "first_layer": 26}
    few = dict.fromkeys(("phrasing", "refusal", "combination", "value", "korean", "base"), 10)
    return CopilotDeclaration.model_validate({**declared.model_dump(), "tuning": tuning, "questions": few})


@pytest.fixture
def home(warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:  # noqa: F811
    settings = Settings(home=tmp_path)
    (settings.home / "llm").mkdir(parents=True)
    (settings.home / "llm" / "models").symlink_to(real.BASE.parent)
    settings.warehouse.mkdir(parents=True)
    shutil.copy(warehouse, settings.warehouse_file)
    say_what_it_means(settings.warehouse_file, warehouse.parent / "target" / "semantic_manifest.json")
    domain = load_domain(PROJECT / "assets" / "domain")
    parsed = settings.dbt_target / project_fingerprint(domain.dbt_project)
    parsed.mkdir(parents=True)
    for name in ("manifest.json", "semantic_manifest.json"):
        shutil.copy(warehouse.parent / "target" / name, parsed)
    (parsed / "complete").touch()
    declared = read_copilot(domain.folder)
    assert declared is not None
    for module in ("assets.training.llm.assets", "assets.training.resources"):
        monkeypatch.setattr(f"{module}.get_settings", lambda: settings)
    monkeypatch.setattr(copilot, "read_copilot", lambda _: shortly(declared))
    found = copilot.definitions(domain).assets or []
    return Home(settings, [asset for asset in found if isinstance(asset, dg.AssetsDefinition)])


def test_a_tuning_that_is_too_short_is_no_challenger_and_a_killed_run_is_taken_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(name: str) -> None:
        raise RuntimeError(f"killed at {name}")

    with monkeypatch.context() as patch:
        patch.setattr(versions, "boundary", killed)
        assert not home.run(raise_on_error=False).success
    assert home.versions() == ["1"], "it was registered, and not judged"

    done = home.run(raise_on_error=False)
    assert home.versions() == ["1", "2"], "the base, which it is compared with, is a version of its own"
    verdicts = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
    assert list(verdicts) == list(GATES)
    assert not verdicts["phrasings"]
    assert alias_version(COPILOT, "challenger", home.settings) is None
    tags = client(home.settings).get_model_version(COPILOT, "1").tags
    assert tags["clearway.gates"] == "failed"
    artifact = resolve(COPILOT, "1", home.settings)
    assert (artifact / "adapter" / "adapter_model.safetensors").exists()
    run = client(home.settings).get_model_version(COPILOT, "1").run_id
    losses = client(home.settings).get_metric_history(str(run), "loss")
    assert [point.step for point in losses] == list(range(1, STEPS + 1))
    (shown,) = done.asset_materializations_for_node("models__metric_copilot")
    assert {"gates", "by_question", "wrong", "seconds_p50"} <= shown.metadata.keys()
