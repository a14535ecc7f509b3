"""What is built anew, and what readers see meanwhile and after a failure."""

from __future__ import annotations

import hashlib
import time
from datetime import date
from pathlib import Path

import pytest

from assets.warehouse import build as module
from assets.warehouse.build import Build, stale
from assets.warehouse.ledger import NodeResult, build_keys, last_results, newest_period, reading, row_counts
from assets.warehouse.manifest import load_manifest
from tests.faults.forker import Forker
from tests.faults.library import FEBRUARY, JANUARY, MARCH, Library

RESULT = NodeResult("model.x.a", "success", 0.5, None, None)


def recorded(file: Path, models: tuple[str, ...], keys: dict[date, str]) -> Build:
    """A published file in which these months of these models are recorded."""
    build = Build(models, tuple(keys), MARCH, {}, keys)
    module._prepare(file, build)
    module._record(file, build, {RESULT.unique_id: RESULT}, "run")
    return build


def test_without_a_file_every_month_is_stale(tmp_path: Path) -> None:
    build = Build(("a",), (JANUARY, FEBRUARY), MARCH, {}, {JANUARY: "k", FEBRUARY: "l"})
    assert stale(tmp_path / "warehouse.duckdb", build) == [JANUARY, FEBRUARY]


def test_a_month_is_stale_when_its_key_is_new_or_a_model_lacks_it(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    keys = {JANUARY: "k", FEBRUARY: "l"}
    assert stale(file, recorded(file, ("a", "b"), keys)) == []
    assert stale(file, Build(("a",), (JANUARY, FEBRUARY), MARCH, {}, {**keys, JANUARY: "other"})) == [JANUARY]
    assert stale(file, Build(("a", "c"), (JANUARY, FEBRUARY), MARCH, {}, keys)) == [JANUARY, FEBRUARY]
    recorded(file, ("c",), {JANUARY: "k"})
    assert stale(file, Build(("a", "c"), (JANUARY, FEBRUARY), MARCH, {}, keys)) == [FEBRUARY]
    assert last_results(file) == {RESULT.unique_id: RESULT}


def test_keys_and_newest_month_are_those_that_all_models_have(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    recorded(file, ("a", "b"), {JANUARY: "k"})
    recorded(file, ("a",), {FEBRUARY: "l"})
    assert newest_period(file, ["a", "b"]) == JANUARY
    assert newest_period(file, ["a"]) == FEBRUARY
    assert newest_period(file, ["c"]) is None
    assert build_keys(file, ["a", "b"], FEBRUARY) == {"a/2021-01-01": "k", "b/2021-01-01": "k"}


@pytest.mark.integration
def test_readers_read_while_it_builds_and_a_failed_test_publishes_nothing(forker: Forker, landed: Library) -> None:
    file = landed.settings.warehouse_file
    assert forker.does("build", "2021-01-01") == "built"
    manifest = load_manifest(landed.domain.dbt_project, landed.settings.dbt_target)
    counts = row_counts(file, manifest, ["fct_loans", "time_spine"])
    assert counts["fct_loans"] == (1500, {"2021-01-01": 1500})
    assert counts["time_spine"][1] == {}, "it has no months"
    before = hashlib.sha256(file.read_bytes()).hexdigest()

    def january_again(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [{**rows[0], "loan": "202101-00000"}, *rows[1:]]  # February has a loan of January's name

    landed.redrop(FEBRUARY, january_again)
    forker.does("ingest", "2021-02-01")
    forker.start("build", "2021-01-01", "2021-02-01")
    copy = landed.settings.warehouse / "build" / file.name
    seen = 0
    deadline = time.monotonic() + 60
    while not copy.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    while copy.exists():
        time.sleep(0.2)
        with reading(file) as connection:
            assert connection.execute("select count(*) from main.fct_loans").fetchone() == (1500,)
        seen += 1
    ended = forker.ended()
    assert seen > 3
    assert ended.error == "BuildFailed"
    assert "unique_fct_loans_loan" in (ended.what or "")
    assert "1 failing rows" in (ended.what or "")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert stale(file, Build(("fct_loans",), (FEBRUARY,), MARCH, {}, {FEBRUARY: "any"})) == [FEBRUARY]
