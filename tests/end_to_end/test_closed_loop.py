"""A model that has become worse is reviewed, retrained once and released, by the daemon and through kills."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml

from assets.delivery.assets import DECISION_TAG
from assets.monitoring.record import Records
from serving.models.registry import versions
from serving.rollout.read import list_rollouts, read_state
from serving.settings import Settings
from tests.running import SECOND_DOMAIN, Place

pytestmark = [pytest.mark.end_to_end, pytest.mark.faults, pytest.mark.timeout(900)]
MODEL, APRIL = "late_return", "2021-04-01"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A released version of January to March, and what it answered in April, when everybody is later."""
    folder = tmp_path_factory.mktemp("loop")
    shutil.copytree(SECOND_DOMAIN, folder / "domain")
    made = Place(folder / "home", folder / "domain")
    declare(made.domain)
    try:
        first = made.python("-m", "orchestration.run")
        assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
        _ask(made)
        time.sleep(31)  # the segment of events is closed by then
        done = made.dagster("job", "execute", "-m", "orchestration.definitions", "-j", "monitor")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield made
    finally:
        made.python("-m", "orchestration.ui", "stop")


def declare(folder: Path) -> None:
    sample = folder / "sample.py"
    text = sample.read_text()
    later = text.replace("chance.gauss(-0.8, 1.0)", "chance.gauss(-0.8 if period.month < 4 else 1.0, 1.0)")
    assert later != text
    sample.write_text(later)
    file = folder / "models" / f"{MODEL}.yaml"
    content = yaml.safe_load(file.read_text())
    gates = {"floor": {"auc": 0.5, "log_loss": 2.0}, "champion": {"margin": 0.02, "block_days": 1},
             "calibration": {"max_error": 0.9}}  # fmt: skip
    content["gates"] = gates
    content["retraining"] = {
        "policy": {"kind": "expected_cost", "prices": {"retraining": 10, "rollout": 1}, "limits": {"labelled": 500}},
        "alarm": {"false_alarms": 30, "slices": [{"column": "branch", "value": "south"}]},
        "judge_days": 7,
        "wait_days": 15,  # a label is known when the book is back
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _ask(place: Place) -> None:
    """Every loan of April, and one that nobody lent; some of them twice."""
    file = next((place.home / "landing" / "loans" / APRIL).iterdir())
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    asked = [{**{k: r[k] for k in ("branch", "reader", "genre", "lent_at")}, "request_id": r["loan"]} for r in rows]
    asked += [{**asked[0], "lent_at": "2021-04-03T03:03:03Z", "request_id": "nobody"}, *asked[:50]]
    key = (place.home / "local.key").read_text().strip()
    for start in range(0, len(asked), 500):
        answer = httpx.post(
            f"http://127.0.0.1:{place.ports['GATEWAY']}/v1/predictions/{MODEL}",
            headers={"authorization": f"Bearer {key}"},
            json=asked[start : start + 500],
            timeout=60,
        )
        assert answer.status_code == 200, answer.text


def ask(place: Place, lent_at: str) -> dict[str, Any]:
    """One answer to a user."""
    answer = httpx.post(
        f"http://127.0.0.1:{place.ports['GATEWAY']}/v1/predictions/{MODEL}",
        headers={"authorization": f"Bearer {(place.home / 'local.key').read_text().strip()}"},
        json={"branch": "south", "reader": "r007", "genre": "history", "lent_at": lent_at},
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def settings_of(place: Place) -> Settings:
    return Settings(home=place.home, domain=place.domain)


def review(place: Place, crash: str = "") -> str:
    done = place.materialize(f"reviews/{MODEL}", "--partition", APRIL, CLEARWAY_CRASH_AT=crash)
    assert done.returncode == (-signal.SIGKILL if crash else 0), done.stdout[-3000:] + done.stderr[-3000:]
    if crash:
        end_runs(place)
    return done.stdout + done.stderr


def end_runs(place: Place) -> None:
    """Nobody watches a run of the command line: until a person ends it, it counts as running and fills the queue."""
    with dg.DagsterInstance.from_config(str(place.home / "dagster")) as instance:
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            instance.report_run_failed(run)


def test_a_review_that_is_killed_decides_once(place: Place) -> None:
    records = Records(settings_of(place).reviews, MODEL)
    review(place, "review.decided")
    assert records.all() == []
    review(place, "review.recorded")
    (record,) = records.all()
    assert "decided before: retrain" in review(place)
    assert records.all() == [record]
    assert (record.action, record.champion, record.revision) == ("retrain", "1", 1)
    assert "a model fitted on newer data saves" in record.why
    assert record.others["never"] == "wait"
    # The loan that nobody lent has no label, and those that were asked twice count once.
    assert record.numbers["labelled"] == 1500
    assert record.numbers["coverage"] == pytest.approx(1500 / 1501)
    assert record.numbers["gain"] > 0.01
    loss = record.risk["log_loss"]
    assert loss["error"] > 0.1, "everybody is later than the scores say"
    assert {alarm["name"]: bool(alarm["raised_on"]) for alarm in record.alarms} == {"model": True, "branch=south": True}
    alerts = (place.home / "alerts" / "alerts.jsonl").read_text()
    assert alerts.count(f"review-{record.id}") == 1


def test_what_the_version_was_given_is_beside_what_training_would_join(place: Place) -> None:
    """The window was filled once, at the end of April; what changes by the day was another when it was asked."""
    code = (
        "import json; from dataclasses import asdict; from assets.domains import current_domain;"
        "from assets.ingestion.lakehouse import Lakehouse; from assets.monitoring.feature_skew import skew;"
        "from serving.settings import get_settings; s = get_settings(); d = current_domain();"
        f"print(json.dumps(asdict(skew(d, d.models[{MODEL!r}], Lakehouse(s.catalog, s.lakehouse), s))))"
    )
    told = place.python("-c", code)
    assert told.returncode == 0, told.stderr[-3000:]
    found = json.loads(told.stdout.splitlines()[-1])
    assert (found["version"], found["month"]) == ("1", "2021-04")
    by_name = {f["feature"]: f for f in found["features"]}
    assert set(by_name) == {"reader_daily__late_share", "reader_daily__loans"}
    assert all(f["compared"] == 1501 and 0.5 < f["differing"] <= 1 for f in by_name.values())
    done = place.materialize(f"skew/{MODEL},operations/costs")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_a_training_that_fails_halfway_leaves_no_version_and_the_champion_answering(place: Place) -> None:
    """It has learned, and the version's files cannot be written; the test after this one carries the decision out."""
    settings = settings_of(place)
    artifacts = place.home / "mlflow" / "artifacts" / MODEL
    hidden = artifacts.with_name("hidden")
    artifacts.rename(hidden)
    artifacts.touch()
    try:
        done = place.materialize(f"training_sets/{MODEL},models/{MODEL},releases/{MODEL}")
    finally:
        artifacts.unlink()
        hidden.rename(artifacts)
    text = done.stdout + done.stderr
    assert done.returncode != 0, text[-3000:]
    assert "trial 1 of 1: log loss" in text, text[-3000:]
    assert "NotADirectoryError" in text or "FileExistsError" in text, text[-3000:]
    assert [v.version for v in versions(MODEL, settings) if "champion" in v.aliases] == ["1"]
    assert len(versions(MODEL, settings)) == 1
    assert [r.version for r in list_rollouts(MODEL, settings)] == ["1"]
    assert ask(place, "2021-05-01T10:00:00Z")["version"] == "1"


def test_a_training_that_is_killed_behind_its_registration_leaves_a_version_that_nobody_gets(place: Place) -> None:
    """The run of the next test finds it, names it challenger, and releases it."""
    settings = settings_of(place)
    wanted = f"training_sets/{MODEL},models/{MODEL},releases/{MODEL}"
    done = place.materialize(wanted, CLEARWAY_CRASH_AT="version.registered")
    assert done.returncode == -signal.SIGKILL, done.stdout[-3000:] + done.stderr[-3000:]
    end_runs(place)
    assert {v.version: v.aliases for v in versions(MODEL, settings)}["2"] == ()
    assert [r.version for r in list_rollouts(MODEL, settings)] == ["1"]


def _until(what: str, check: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.2)


def test_the_daemon_retrains_once_though_its_run_is_killed_before_the_rollout(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(place)
    record = Records(settings.reviews, MODEL).of(date(2021, 4, 1))
    assert record is not None
    started = place.python("-m", "orchestration.ui")
    assert started.returncode == 0, started.stderr
    monkeypatch.setenv("CLEARWAY_HOME", str(place.home))
    with dg.DagsterInstance.from_config(str(place.home / "dagster")) as instance:

        def runs() -> list[dg.DagsterRun]:
            return list(instance.get_runs(filters=dg.RunsFilter(tags={DECISION_TAG: record.id})))

        (run,) = _until("a run was started for the decision", runs, 120)
        pid = _until("it has a process", lambda: _pid(instance, run.run_id), 60)
        _until("the challenger is registered", lambda: len(versions(MODEL, settings)) == 2, 120)
        os.kill(pid, signal.SIGKILL)
        state = _until("the challenger is released", lambda: _released(settings, "2"), 240)
        assert state.previous is not None
        ended = _until("no run is left", lambda: all(r.is_finished for r in runs()) and runs(), 60)
        # The daemon may have been quick enough to finish before the kill; a killed run is tried once more.
        assert len(ended) <= 2
        keys = {r.tags["dagster/run_key"] for r in ended if "dagster/run_key" in r.tags}
        assert keys == {f"retrain:{record.id}"}
        time.sleep(35)  # the sensor has looked once more
        assert len(runs()) == len(ended)
    assert [v.version for v in versions(MODEL, settings)] == ["2", "1"]
    rollouts = [r for r in list_rollouts(MODEL, settings) if r.version == "2"]
    assert [r.phase for r in rollouts] == ["completed"]
    assert ask(place, "2021-05-01T10:00:00Z")["version"] == "2"


def _pid(instance: dg.DagsterInstance, run_id: str) -> int | None:
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        data = event.event_specific_data if event is not None and event.is_engine_event else None
        found = getattr(data, "metadata", {}).get("pid")
        if found is not None:
            return int(found.value)
    return None


def _released(settings: Settings, version: str) -> Any:
    state = read_state(MODEL, settings)
    return state if state.stable and state.arms[state.stable].version == version and not state.running else None


def test_what_followed_is_told_beside_the_review(place: Place) -> None:
    done = place.materialize(f"retrainings/{MODEL}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    from assets.monitoring.history import history

    (chapter,) = history(MODEL, settings_of(place))
    assert (chapter.version, chapter.gates, chapter.state) == ("2", "passed", "completed")
    new, first = (json.loads(v.tags["clearway.facts"]) for v in versions(MODEL, settings_of(place)))
    assert (new["decision"], new["refit"], first["decision"]) == (chapter.record.id, True, None)
    for facts in (new, first):
        del facts["parameters"]["rounds"]
    assert new["parameters"] == first["parameters"], "it was decided on a candidate that had the champion's"
