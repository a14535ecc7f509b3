"""Ingestion killed at each of its boundaries, on a full disk, and by two processes at once."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from assets.ingestion.checks import reconcile
from assets.ingestion.publish import current_quarantine
from tests.faults.forker import Forker
from tests.faults.library import FEBRUARY, JANUARY, MONTHS, Library, Row

pytestmark = [pytest.mark.faults, pytest.mark.integration]
LATER = "2021-06-01T00:00:00+00:00"


def corrected(number: int) -> Any:
    """An edit with something of everything: one loan changed, one removed, one added, one that goes to quarantine."""

    def edit(rows: list[Row]) -> list[Row]:
        rows[number]["returned_at"] = rows[number]["due_at"]
        rows[number + 20]["branch"] = f"atlantis-{number}"
        added = {**rows[number + 40], "loan": f"added-{number}"}
        return [*rows[: number + 60], *rows[number + 61 :], added]

    return edit


def seen(library: Library) -> dict[str, Any]:
    """Everything that readers of the month see: rows, current quarantine, the ledger's word."""
    rows = library.lakehouse.read("raw.loans", period=JANUARY)
    aside = current_quarantine(library.lakehouse, "loans")
    assert rows is not None
    assert aside is not None
    entry = library.lakehouse.ledger("raw.loans")[JANUARY]
    return {
        "rows": sorted(rows.to_pylist(), key=lambda r: r["_row"]),
        "quarantine": sorted((r["_drop"], r["_row"], r["rule"]) for r in aside.to_pylist()),
        "drop": entry.report["drop"],
        "key": entry.key,
    }


def others(library: Library) -> dict[date, int]:
    rows = library.lakehouse.read("raw.loans", ("_period",))
    assert rows is not None
    periods = rows.column("_period").to_pylist()
    return {month: periods.count(month) for month in MONTHS if month != JANUARY}


def nothing_doubled_nothing_left(library: Library) -> None:
    rows = seen(library)["rows"]
    assert len({r["loan"] for r in rows}) == len(rows)
    table = library.lakehouse.load("raw.loans")
    assert table is not None
    assert list(table.refs()) == ["main"], "a staging branch is left"
    history = library.lakehouse.read("quarantine.loans")
    assert history is not None
    kept = [(r["_slot"], r["_row"]) for r in history.to_pylist()]
    assert len(set(kept)) == len(kept)
    balance = reconcile(library.lakehouse, library.domain.sources["loans"], [JANUARY])[JANUARY]
    assert balance["published"] + balance["quarantined"] == balance["received"]


@pytest.mark.parametrize(
    ("number", "boundary", "published"),
    [
        (1, "ingestion.quarantined", False),
        (2, "ingestion.staged", False),
        (3, "ingestion.audited", False),
        (4, "ingestion.published", True),
    ],
)
def test_killed_readers_see_old_or_new_and_a_rerun_ends_in_new(
    forker: Forker, landed: Library, number: int, boundary: str, published: bool
) -> None:
    old, elsewhere = seen(landed), others(landed)
    landed.redrop(JANUARY, corrected(number))
    forker.killed(boundary, "ingest", "2021-01-01", "loans", LATER)
    after_kill = seen(landed)
    assert forker.does("ingest", "2021-01-01", "loans", LATER) == ("unchanged" if published else "published")
    new = seen(landed)
    assert after_kill == (new if published else old)
    assert new["drop"] != old["drop"]
    assert {r["loan"] for r in new["rows"]} - {r["loan"] for r in old["rows"]} == {f"added-{number}"}
    assert len(new["quarantine"]) == number, "each of these drops adds one"
    assert others(landed) == elsewhere
    nothing_doubled_nothing_left(landed)


def test_killed_twice_the_first_branch_does_not_outlive_the_second_run(forker: Forker, landed: Library) -> None:
    landed.redrop(JANUARY, corrected(5))
    forker.killed("ingestion.staged", "ingest", "2021-01-01", "loans", LATER)
    table = landed.lakehouse.load("raw.loans")
    assert table is not None
    assert len(table.refs()) == 2, "the control: a kill leaves a branch"
    forker.killed("ingestion.published", "ingest", "2021-01-01", "loans", LATER)
    assert forker.does("ingest", "2021-01-01", "loans", LATER) == "unchanged"
    nothing_doubled_nothing_left(landed)


@pytest.mark.parametrize("limit", [2_000, 12_000, 40_000])
def test_a_full_disk_leaves_what_readers_see(forker: Forker, landed: Library, limit: int) -> None:
    """Files may not grow past some thousand bytes: the quarantine, the rows or the catalogue cannot be written."""
    old = seen(landed)
    landed.redrop(JANUARY, corrected(100 + limit // 1_000))
    ended = forker.run("ingest", "2021-01-01", "loans", LATER, limit=limit)
    assert ended.error == "ClearwayError", ended
    assert ended.what
    assert "cannot be written" in ended.what
    assert ended.untouched
    assert "readers see what they saw before" in ended.untouched
    assert ended.todo
    assert "free disk space" in ended.todo
    assert seen(landed) == old
    assert forker.does("ingest", "2021-01-01", "loans", LATER) == "published"
    assert seen(landed)["drop"] != old["drop"]
    nothing_doubled_nothing_left(landed)


def test_two_processes_that_staged_from_one_base_are_both_published(forker: Forker, landed: Library) -> None:
    before = landed.lakehouse.ledger("raw.loans")
    for month in (JANUARY, FEBRUARY):
        landed.redrop(month, corrected(200))
    assert forker.does("ingest_together", str(landed.settings.home), "staged", "2021-01-01", "2021-02-01") == [0, 0]
    after = landed.lakehouse.ledger("raw.loans")
    for month in (JANUARY, FEBRUARY):
        assert after[month].key != before[month].key
        rows = landed.lakehouse.read("raw.loans", ("loan",), month)
        assert rows is not None
        assert "added-200" in rows.column("loan").to_pylist()
    nothing_doubled_nothing_left(landed)


def test_two_processes_may_be_the_first_to_publish_at_all(forker: Forker, landed: Library) -> None:
    """Catalogue, namespace and table are made by whoever comes first."""
    fresh = Library(landed.settings.home / "fresh")
    fresh.land()
    months = [month.isoformat() for month in MONTHS]
    assert forker.does("ingest_together", str(fresh.settings.home), "start", None) == [0]
    assert forker.does("ingest_together", str(fresh.settings.home), "start", *months) == [0] * 4
    assert sorted(fresh.lakehouse.ledger("raw.loans")) == list(MONTHS)
    rows = fresh.lakehouse.read("raw.loans")
    assert rows is not None
    assert rows.num_rows == 4 * 1500


def test_events_killed_before_the_segment_is_marked_are_published_once(forker: Forker, landed: Library) -> None:
    folder = landed.settings.events / "gateway"
    folder.mkdir(parents=True)
    for number in (1, 2):
        events = [
            {"event_id": f"{number}-{i}", "request_id": f"{number}", "score": 0.5, "served_at": "2021-05-02T10:00:00Z"}
            for i in range(10)
        ]
        (folder / f"{number:06d}.jsonl").write_text("\n".join(json.dumps(e) for e in events) + "\n")

    def published() -> list[str]:
        rows = landed.lakehouse.read("events.predictions", ("event_id",))
        return [] if rows is None else sorted(rows.column("event_id").to_pylist())

    forker.killed("events.published", "events")
    both = sorted(f"{number}-{i}" for number in (1, 2) for i in range(10))
    assert published() == both, "all that came together, by one commit"
    assert len(list(folder.glob("*.jsonl"))) == 2, "and none is marked"
    assert forker.does("events") == {"segments": 2, "events": 20, "doubled": 0}
    assert published() == both
    assert forker.does("events")["segments"] == 0
    assert not list(folder.glob("*.jsonl"))
