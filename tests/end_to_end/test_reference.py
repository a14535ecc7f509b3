"""The two commands' path on the reference domain: what the summary says is what the stores hold."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from datetime import date

import psutil
import pytest

from assets.domains import load_domain
from assets.ingestion.lakehouse import Lakehouse
from assets.warehouse.ledger import reading
from serving.rollout.smoke import CALLER
from serving.settings import Settings
from tests.end_to_end.ran import Ran

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1500)]


def settings_of(ran: Ran) -> Settings:
    return Settings(home=ran.place.home, domain=ran.place.domain)


def table(text: str) -> dict[tuple[str, str], list[int]]:
    """The summary's rows by (month, source)."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"^(\d{4}-\d\d|-)\s+(\w+)\s+([\d,]+)\s+([\d,]+)\s+([\d,]+)\s+([\d,]+)\s+([\d,]+)\s*$", line)
        if match:
            found[match[1], match[2]] = [int(n.replace(",", "")) for n in match.groups()[2:]]
    return found


def test_the_run_succeeds_and_shows_progress(reference: Ran) -> None:
    assert reference.done.returncode == 0, reference.text[-4000:]
    for step in (
        "raw/flights",
        "warehouse",
        "features/online_window",
        "models/arrival_delay",
        "releases/arrival_delay",
    ):
        assert step in reference.text


def test_the_summary_is_what_the_stores_hold(reference: Ran) -> None:
    shown = table(reference.text)
    settings = settings_of(reference)
    lakehouse = Lakehouse(settings.catalog, settings.lakehouse)
    for name, source in load_domain(reference.place.domain).sources.items():
        rows = lakehouse.read(f"raw.{name}")
        assert rows is not None
        months = sorted(set(rows.column("_period").to_pylist())) if source.partitioned else [None]
        assert len(months) == (12 if source.partitioned else 1)
        for month in months:
            received, published, quarantined, _, _ = shown[f"{month:%Y-%m}" if month else "-", name]
            mask = [p == month for p in rows.column("_period").to_pylist()] if month else [True] * rows.num_rows
            assert sum(mask) == published
            assert published + quarantined == received
    assert sum(v[0] for (_, name), v in shown.items() if name == "flights") == 336_776
    assert sum(v[1] for (_, name), v in shown.items() if name == "flights") == 336_776


@pytest.mark.parametrize(
    ("source", "rule", "count", "action"),
    [
        ("flights", "aircraft_known", 50_094, "note"),
        ("flights", "aircraft_given", 2_512, "note"),
        ("flights", "destination_known", 7_602, "note"),
        ("flights", "weather_observed", 1_556, "note"),
        ("flights", "departed", 8_255, "note"),
        ("flights", "arrival_recorded", 458, "note"),
        ("flights", "arrival_delay_recorded", 717, "note"),
        ("flights", "midnight_departure_is_2400", 29, "repair"),
        ("flights", "midnight_arrival_is_2400", 150, "repair"),
        ("weather", "wind_speed_possible", 1, "repair"),
        ("airports", "longitude_is_western", 3, "repair"),
        ("planes", "speed_given", 1, "note"),
    ],
)
def test_every_known_defect_meets_its_rule(reference: Ran, source: str, rule: str, count: int, action: str) -> None:
    settings = settings_of(reference)
    ledger = Lakehouse(settings.catalog, settings.lakehouse).ledger(f"raw.{source}")
    rules = [r for entry in ledger.values() for r in entry.report["rules"] if r["rule"] == rule]
    assert sum(r["failing"] for r in rules) == count
    assert {r["action"] for r in rules} == {action}


def test_wrong_coordinates_are_corrected(reference: Ran) -> None:
    settings = settings_of(reference)
    rows = Lakehouse(settings.catalog, settings.lakehouse).read("raw.airports")
    assert rows is not None
    found = {
        r["faa"]: (round(r["lat"]), round(r["lon"])) for r in rows.to_pylist() if r["faa"] in ("DVT", "MYF", "EEN")
    }
    assert found == {"DVT": (34, -112), "MYF": (33, -117), "EEN": (43, -72)}


def test_the_model_reaches_the_static_figures(reference: Ran) -> None:
    """Trained on January to March, judged on May to December; the figures are those of a static model."""
    found = dict(re.findall(r"^(auc|log loss)\s+([\d.]+)", reference.text, re.MULTILINE))
    assert float(found["auc"]) >= 0.710
    assert float(found["log loss"]) <= 0.493


def test_the_warehouse_agrees_with_the_lakehouse(reference: Ran) -> None:
    with reading(settings_of(reference).warehouse_file) as connection:
        months = dict(connection.execute("select period, count(*) from marts.fct_flights group by 1").fetchall())
    shown = table(reference.text)
    assert months == {date(2013, m, 1): shown[f"2013-{m:02d}", "flights"][1] for m in range(1, 13)}


def test_the_curl_line_works_as_printed(reference: Ran) -> None:
    line = next(x for x in reference.text.splitlines() if x.startswith("curl "))
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30)
    answer = json.loads(done.stdout)
    assert answer["model"] == "arrival_delay"
    assert answer["version"] == "1"
    prediction = answer["predictions"][0]
    assert 0 < prediction["probability"] < 1
    assert prediction["feature_times"]["carrier_daily"] == "2014-01-01T05:00:00Z"


def test_run_again_does_no_work_that_is_done(reference: Ran) -> None:
    settings = settings_of(reference)
    lakehouse = Lakehouse(settings.catalog, settings.lakehouse)
    before = {n: lakehouse.ledger(f"raw.{n}") for n in load_domain(reference.place.domain).sources}
    warehouse = settings.warehouse_file.stat().st_mtime_ns
    pointer = settings.online_pointer.read_text()
    again = reference.place.python("-m", "orchestration.run")
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert {n: lakehouse.ledger(f"raw.{n}") for n in before} == before
    assert settings.warehouse_file.stat().st_mtime_ns == warehouse
    assert settings.online_pointer.read_text() == pointer
    assert "trial 1" not in again.stdout
    assert "version 1 is stable already" in again.stdout


def test_the_command_line_materializes_one_partition(reference: Ran) -> None:
    select = "raw/flights,fct_flights,features/feat_carrier_daily,metrics/on_time_rate"
    done = reference.place.materialize(select, "--partition", "2013-02-01")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_predictions_become_rows_of_the_lakehouse_once(reference: Ran) -> None:
    settings = settings_of(reference)
    lakehouse = Lakehouse(settings.catalog, settings.lakehouse)
    stopped = reference.place.python("-m", "orchestration.ui", "stop")  # closes the segments
    assert stopped.returncode == 0
    for _ in range(2):
        done = reference.place.materialize("events/predictions")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = lakehouse.read("events.predictions")
    assert rows is not None
    ids = rows.column("event_id").to_pylist()
    assert len(ids) == len(set(ids)) > 0
    assert set(rows.column("version").to_pylist()) == {"1"}


def test_what_was_served_is_judged_by_the_semantic_layer(reference: Ran) -> None:
    """After the test before: the segments are closed, and nothing runs that could answer more."""
    done = reference.place.dagster("job", "execute", "-m", "orchestration.definitions", "-j", "monitor")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    settings = settings_of(reference)
    rows = Lakehouse(settings.catalog, settings.lakehouse).read("events.predictions")
    assert rows is not None
    with reading(settings.warehouse_file) as connection:
        found = connection.execute("select model_version, count(*) from marts.fct_predictions group by 1").fetchall()
    asked = [r for r in rows.select(["request_id", "caller"]).to_pylist() if r["caller"] != CALLER]
    assert 0 < len(asked) < rows.num_rows, "the release's smoke test was nobody's request"
    assert found == [("1", len({r["request_id"] for r in asked}))]
    assert "outcomes__arrival_delay - STEP_SUCCESS" in done.stdout + done.stderr


def test_nothing_is_left_behind_after_stop(reference: Ran) -> None:
    reference.place.python("-m", "orchestration.ui", "stop")
    left = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline", "environ"])
        if (p.info["environ"] or {}).get("CLEARWAY_HOME") == str(reference.place.home)
    ]
    assert left == []
