"""A whole replay of the small domain in data time: the first version, a month of answers, its review, a new version."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from assets.ingestion.lakehouse import Lakehouse
from assets.monitoring.history import history
from serving.runtime.laptop import stop_all
from serving.settings import Settings
from tests.end_to_end.test_closed_loop import declare
from tests.running import SECOND_DOMAIN, Place

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
MODEL = "late_return"


def test_it_plays_the_year_and_says_why(tmp_path: Path) -> None:
    shutil.copytree(SECOND_DOMAIN, tmp_path / "domain")
    declare(tmp_path / "domain")
    place = Place(tmp_path / "home", tmp_path / "domain")
    try:
        done = place.python("-m", "orchestration.replay", timeout=840)
    finally:
        stop_all(Settings(home=place.home / "replay", domain=place.domain))
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-4000:]
    settings = Settings(home=place.home / "replay", domain=place.domain)
    first, april = history(MODEL, settings)
    assert (first.record.period, first.record.champion, first.version) == ("2021-03-01", None, "1")
    assert "a first one was asked for" in first.record.why
    assert first.state == "completed"
    assert (april.record.period, april.record.champion, april.record.action) == ("2021-04-01", "1", "retrain")
    assert (april.version, april.gates, april.state) == ("2", "passed", "completed")
    # Everything was decided by the clock that was moved, and every answer recorded by it.
    assert april.record.at == "2021-05-15T23:00:00+00:00", "fifteen days after April, by the domain's clock"
    assert april.record.numbers["coverage"] > 0.9
    rows = Lakehouse(settings.catalog, settings.lakehouse).read("events.predictions")
    assert rows is not None
    answers = [r for r in rows.select(["caller", "served_at", "prediction_time"]).to_pylist() if r["caller"] == "local"]
    asked = [(r["served_at"], r["prediction_time"]) for r in answers if r["served_at"].month == 4]
    assert len(asked) > 600, "from the middle of April on, when the labels of March were known"
    assert all(0 <= (time - at).total_seconds() < 3600 for at, time in asked)
    for line in ("2021-04 is over", "2021-04  champion 1", "retrain"):
        assert line in text
    left = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline", "environ"])
        if (p.info["environ"] or {}).get("CLEARWAY_HOME") == str(settings.home)
    ]
    assert left == []
    # What is the user's own home was not touched.
    assert {p.name for p in place.home.iterdir()} <= {"replay", "dagster"}
