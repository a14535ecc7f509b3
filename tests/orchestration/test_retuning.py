"""What there is to ask for has changed: the copilot is tuned again, once, and failures come to an end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from assets.domains import current_domain
from assets.monitoring.watch import alerts
from assets.training.llm.dataset import manifest_key
from assets.training.llm.version import FACTS, MANIFEST, TUNED
from assets.training.tabular.register import client
from orchestration.retuning import ATTEMPTS, TAG, retuning_sensor
from serving.semantics.asking import COPILOT
from serving.semantics.catalogue import catalogue_of
from serving.settings import Settings, get_settings
from tests.dbt_project.fixtures import warehouse  # noqa: F401
from tests.serving.llm import fake

pytestmark = pytest.mark.integration
JOB = dg.define_asset_job("copilot")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    monkeypatch.setattr(fake, "MODEL", COPILOT)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def manifest(warehouse: Path) -> dict[str, Any]:  # noqa: F811
    found: dict[str, Any] = json.loads((warehouse.parent / "target" / "semantic_manifest.json").read_text())
    return found


def publish(manifest: dict[str, Any], settings: Settings) -> None:
    settings.warehouse.mkdir(parents=True, exist_ok=True)
    settings.warehouse_file.unlink(missing_ok=True)
    with duckdb.connect(str(settings.warehouse_file)) as connection:
        connection.execute("create schema clearway")
        connection.execute("create table clearway.semantics as select ?::varchar as manifest", [json.dumps(manifest)])


def release(settings: Settings, tuned_on: dict[str, Any] | None) -> None:
    """Users get version 1, tuned on this manifest; or the untuned base."""
    tags = {TUNED: "no"}
    if tuned_on is not None:
        known = catalogue_of(tuned_on)
        tags = {TUNED: "yes", MANIFEST: manifest_key(known), FACTS: json.dumps({"metrics": sorted(known.metrics)})}
    registry = client(settings)
    registry.create_registered_model(COPILOT)
    registry.create_model_version(COPILOT, source=str(settings.home), tags=tags)
    fake.log_release(settings, "1", 1, weights={fake.arm("1"): 100}, done=True)


def without(manifest: dict[str, Any], metric: str) -> dict[str, Any]:
    return {**manifest, "metrics": [each for each in manifest["metrics"] if each["name"] != metric]}


def asked(instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], str | None]:
    tick = retuning_sensor(current_domain(), JOB).evaluate_tick(  # type: ignore[arg-type]
        dg.build_sensor_context(instance=instance)
    )
    return list(tick.run_requests or []), tick.skip_message


def test_who_knows_what_there_is_is_left_alone(settings: Settings, manifest: dict[str, Any]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert asked(instance) == ([], "no tuned copilot is released, or it knows what there is")
        release(settings, manifest)
        requests, why = asked(instance)
        assert not requests
        assert "there is no published warehouse" in str(why)
        publish(manifest, settings)
        assert asked(instance)[0] == []
    assert alerts(current_domain(), settings, lambda _: None).kept() == []


def test_the_untuned_base_asks_for_nothing(settings: Settings, manifest: dict[str, Any]) -> None:
    release(settings, None)
    publish(manifest, settings)
    with dg.DagsterInstance.ephemeral() as instance:
        assert asked(instance)[0] == []


def test_another_manifest_asks_for_one_tuning_and_failures_come_to_an_end(
    settings: Settings, manifest: dict[str, Any]
) -> None:
    release(settings, without(manifest, "on_time_rate"))
    publish(without(manifest, "average_air_time"), settings)
    keys = []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(ATTEMPTS):
            (request,), (again,) = asked(instance)[0], asked(instance)[0]
            assert request.run_key == again.run_key, "by its key it is asked for once"
            keys.append(request.run_key)
            instance.add_run(dg.DagsterRun(job_name=JOB.name, tags=request.tags, status=dg.DagsterRunStatus.FAILURE))
        assert len(set(keys)) == ATTEMPTS
        requests, why = asked(instance)
        assert not requests
        assert f"failed {ATTEMPTS} times" in str(why)
        publish(manifest, settings)
        (request,), _ = asked(instance)
        assert request.tags[TAG] == f"1:{manifest_key(catalogue_of(manifest))}", "a manifest that is new is tried"
    kept = alerts(current_domain(), settings, lambda _: None).kept()
    assert len(kept) == 2
    (first,) = [alert for alert in kept if "average_air_time" in alert.text]
    assert "gone: average_air_time" in first.text
    assert "New ones: on_time_rate" in first.text


def test_new_words_for_the_same_metrics_are_told(settings: Settings, manifest: dict[str, Any]) -> None:
    release(settings, manifest)
    changed = json.loads(json.dumps(manifest))
    metric = next(each for each in changed["metrics"] if each["name"] == "on_time_rate")
    metric["config"]["meta"] = {**metric["config"]["meta"], "words": {"en": ["promptness"]}}
    publish(changed, settings)
    with dg.DagsterInstance.ephemeral() as instance:
        (request,), _ = asked(instance)
    assert request.tags[TAG].startswith("1:")
    (alert,) = alerts(current_domain(), settings, lambda _: None).kept()
    assert "words for them" in alert.text
