"""What exists, as Dagster sees it: pinned, light to load, and refused when a profile is not complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from serving.settings import PROJECT, REQUIRED_IN_PRODUCTION
from tests.orchestration.snapshot import FILE
from tests.running import Place

pytestmark = pytest.mark.integration
DEPLOY = PROJECT / "orchestration" / "deploy" / "dagster.yaml"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The definitions as a process of their own loads them, from nothing."""
    done = Place(tmp_path_factory.mktemp("home")).python("-m", "tests.orchestration.snapshot", "--print")
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_nothing_appears_or_goes_unnoticed(loaded: dict[str, Any]) -> None:
    """After a wanted change: ``python -m tests.orchestration.snapshot``, and read the difference."""
    expected = json.loads(FILE.read_text())
    for kind, items in expected.items():
        assert sorted(loaded["definitions"][kind]) == sorted(items), kind
        for name, item in items.items():
            assert loaded["definitions"][kind][name] == item, name


def test_a_user_finds_what_it_is_whose_it_is_and_where_it_belongs(loaded: dict[str, Any]) -> None:
    for name, asset in loaded["definitions"]["assets"].items():
        assert asset["described"], name
        assert asset["owners"], name
        assert asset["group"] in (
            "ingestion",
            "warehouse",
            "metrics",
            "features",
            "training",
            "delivery",
            "monitoring",
            "retraining",
            "copilot",
            "knowledge",
        ), name
    for kind in ("jobs", "sensors"):
        for name, item in loaded["definitions"][kind].items():
            assert item["described"] or name == "automation", name


def test_loading_imports_no_heavy_library(loaded: dict[str, Any]) -> None:
    assert loaded["heavy"] == []


def test_the_definitions_stay_short() -> None:
    assert len((PROJECT / "orchestration" / "definitions.py").read_text().splitlines()) < 100


def test_production_refuses_to_start_and_names_all_that_is_missing(tmp_path: Path) -> None:
    given = {"CLEARWAY_CATALOG_URI": "postgresql://catalog/db"}
    done = Place(tmp_path).python("-c", "import orchestration.definitions", CLEARWAY_PROFILE="production", **given)
    assert done.returncode != 0
    assert "profile 'production' needs" in done.stderr
    for name in REQUIRED_IN_PRODUCTION:
        variable = f"CLEARWAY_{name.upper()}"
        assert (variable in done.stderr) == (variable not in given), variable
    assert "nothing was started" in done.stderr


def test_the_instance_of_the_laptop_is_one_that_dagster_takes(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(DEPLOY.read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        concurrency = instance.get_concurrency_config()
        assert concurrency.run_queue_config
        assert concurrency.run_queue_config.max_concurrent_runs == 2
        assert concurrency.pool_config.default_pool_limit == 1
    # The control: Dagster does refuse what it does not know.
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**yaml.safe_load(DEPLOY.read_text()), "concurency": {}}))
    with pytest.raises(dg.DagsterInvalidConfigError), dg.DagsterInstance.from_config(str(tmp_path)):
        pass
