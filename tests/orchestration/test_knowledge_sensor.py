"""The knowledge is made again when documents or marts are newer than it, once for each change."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.domains import current_domain
from assets.knowledge.documents.spec import FOLDER
from assets.knowledge.keys import ELEMENTS
from assets.knowledge.spec import read_graph
from assets.warehouse.assets import model_key
from orchestration import knowledge_sensor as sensing
from orchestration.knowledge_sensor import knowledge_sensor, newest_change
from serving.settings import Settings, get_settings

JOB = dg.define_asset_job("knowledge")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    monkeypatch.setattr(sensing, "SETTLED_S", 0)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def made(instance: dg.DagsterInstance, key: dg.AssetKey = ELEMENTS) -> None:
    """A real run that materializes an asset."""

    @dg.asset(key=key)
    def it() -> None: ...

    assert dg.materialize([it], instance=instance).success
    time.sleep(0.02)


def asked(instance: dg.DagsterInstance) -> tuple[list[str | None], str | None]:
    tick = knowledge_sensor(current_domain(), JOB).evaluate_tick(  # type: ignore[arg-type]
        dg.build_sensor_context(instance=instance)
    )
    return [request.run_key for request in tick.run_requests or []], tick.skip_message


def drop(settings: Settings, name: str, text: str = "x") -> Path:
    file = settings.landing / FOLDER / "notes" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    time.sleep(0.02)
    return file


def test_the_first_is_made_by_people(settings: Settings, instance: dg.DagsterInstance) -> None:
    drop(settings, "a.txt")
    assert asked(instance) == ([], "there is no knowledge yet: make knowledge")


def test_each_change_of_documents_asks_once(settings: Settings, instance: dg.DagsterInstance) -> None:
    file = drop(settings, "a.txt")
    made(instance)
    assert asked(instance) == ([], "documents and marts are what it was made of")
    keys = []

    def change(what: str) -> None:
        keys.extend(asked(instance)[0])
        assert asked(instance)[0] == keys[-1:], f"{what}: by its key it is asked for once"
        made(instance)
        assert asked(instance)[0] == []

    file.write_text("y")
    time.sleep(0.02)
    change("written")
    other = settings.home / "old.txt"
    other.write_text("old")
    os.utime(other, (1, 1))
    shutil.copy2(other, file)
    time.sleep(0.02)
    change("replaced by an older file")
    file.unlink()
    time.sleep(0.02)
    change("removed")
    drop(settings, "deep/er/b.txt")
    change("dropped into a new folder")
    assert len(set(keys)) == 4


def test_what_is_still_being_written_is_waited_for(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(settings, "a.txt")
    made(instance)
    part = drop(settings, "b.pdf.part")
    before = newest_change(settings.landing / FOLDER)
    time.sleep(0.02)
    part.write_text("more")
    assert newest_change(settings.landing / FOLDER) == before, "a file in the making is not looked at"
    monkeypatch.setattr(sensing, "SETTLED_S", 60)
    assert asked(instance) == ([], "documents are being dropped")


def test_marts_are_waited_for_until_no_run_works(settings: Settings, instance: dg.DagsterInstance) -> None:
    made(instance)
    graph = read_graph(current_domain().folder)
    assert graph is not None
    made(instance, model_key(graph.reads[0]))
    (key,) = asked(instance)[0]
    assert str(key).startswith("marts:")
    ingesting = dg.DagsterRun(job_name="ingest", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(ingesting)
    assert asked(instance) == ([], "marts are newer; it waits until no run works")
    drop(settings, "a.txt")
    assert asked(instance)[0], "documents do not wait for other jobs"
    instance.add_run(dg.DagsterRun(job_name=JOB.name, status=dg.DagsterRunStatus.STARTED))
    assert asked(instance) == ([], "it is being made")


def test_a_failed_run_leaves_it_as_it_was(settings: Settings, instance: dg.DagsterInstance) -> None:
    drop(settings, "a.txt")
    made(instance)
    drop(settings, "b.txt")
    (key,) = asked(instance)[0]
    instance.add_run(dg.DagsterRun(job_name=JOB.name, status=dg.DagsterRunStatus.FAILURE))
    assert asked(instance)[0] == [key], "Dagster starts no second run of this key"
