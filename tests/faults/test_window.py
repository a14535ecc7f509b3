"""The online window killed at each of its boundaries, on a full disk, and made from features that are too old."""

from __future__ import annotations

import csv

import pytest

from tests.faults.forker import Forker
from tests.faults.library import MARCH, Library, late

pytestmark = [pytest.mark.faults, pytest.mark.integration]
READER = "r007"


def windows(library: Library) -> set[str]:
    return {p.name for p in library.settings.online_pointer.parent.iterdir() if p.is_dir()}


def correct(forker: Forker, library: Library) -> None:
    """One more of the reader's March loans came back late; the lakehouse and the warehouse know it."""
    folder = library.settings.landing / "loans" / "2021-03-01"
    newest = max(folder.iterdir(), key=lambda f: (f.stat().st_mtime_ns, f.name))
    with newest.open() as file:
        rows = [r for r in csv.DictReader(file) if r["reader"] == READER and r["returned_at"] <= r["due_at"]]
    assert rows, "the reader has loans left to correct"
    library.redrop(MARCH, late({rows[0]["loan"]}))
    forker.does("ingest", "2021-03-01", "loans", "2021-04-30T00:00:00+00:00")
    assert forker.does("build", "2021-03-01") == "built"


@pytest.mark.parametrize(("boundary", "switched"), [("features.materialized", False), ("features.switched", True)])
def test_killed_servers_read_old_or_new_and_a_rerun_ends_in_new(
    forker: Forker, served: Library, boundary: str, switched: bool
) -> None:
    old = forker.does("online", READER)
    correct(forker, served)
    forker.does("export", "2021-03-01")
    forker.killed(boundary, "window")
    after_kill = forker.does("online", READER)
    assert forker.does("window")["status"] == ("unchanged" if switched else "switched")
    new = forker.does("online", READER)
    assert after_kill == (new if switched else old)
    assert new["reader_daily__late_share"] != old["reader_daily__late_share"]
    # The one before stays for servers that still read it; nothing else does.
    assert windows(served) == {new["window"], old["window"]}


def test_a_full_disk_leaves_the_served_window(forker: Forker, served: Library) -> None:
    old = forker.does("online", READER)
    correct(forker, served)
    forker.does("export", "2021-03-01")
    before = windows(served)
    ended = forker.run("window", limit=8_192)
    assert ended.error == "ClearwayError", ended
    assert "cannot be written" in (ended.what or "")
    assert ended.untouched == "the served window."
    assert forker.does("online", READER) == old
    assert windows(served) == before
    assert forker.does("window")["status"] == "switched"
    assert forker.does("online", READER) != old


def test_a_window_that_differs_from_the_offline_features_is_not_served(forker: Forker, served: Library) -> None:
    old, before = forker.does("online", READER), windows(served)
    correct(forker, served)
    forker.does("export", "2021-03-01")
    ended = forker.run("window_that_lost_rows")
    assert ended.error == "ParityFailed", ended
    assert "reader_daily__" in (ended.what or "")
    assert ended.untouched == "the served window."
    assert forker.does("online", READER) == old
    assert windows(served) == before


def test_features_that_are_older_than_the_warehouse_are_refused_by_name(forker: Forker, served: Library) -> None:
    """A run killed between the warehouse and the export: a window, or a training set, would go by a newer name."""
    old = forker.does("online", READER)
    correct(forker, served)
    for stage, arguments in (("window", ()), ("training_sets", ("2021-06-01T00:00:00+00:00",))):
        ended = forker.run(stage, *arguments)
        assert ended.error == "ClearwayError", ended
        assert "feat_reader_daily/2021-03-01" in (ended.what or "")
        assert ended.todo == "materialize features/feat_reader_daily for these months."
    assert forker.does("online", READER) == old
    forker.does("export", "2021-03-01")
    assert forker.does("window")["status"] == "switched"
    assert forker.does("online", READER)["reader_daily__late_share"] != old["reader_daily__late_share"]


def test_the_export_of_an_old_month_reaches_as_far_as_its_values_do(forker: Forker, served: Library) -> None:
    """Readers are remembered for 90 days: a corrected March is in the values of May."""
    written = forker.does("export", "2021-03-01")
    assert sorted(written) == ["2021-03-01", "2021-04-01", "2021-05-01"]
