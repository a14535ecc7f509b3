"""A drop becomes a published partition, or nothing changes."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, datetime

import pytest

from assets.ingestion.checks import reconcile
from assets.ingestion.publish import current_quarantine
from assets.ingestion.reading import DropRejected
from serving.errors import ClearwayError
from tests.assets.ingestion.world import FEBRUARY, JANUARY, MARCH, NOW, READINGS, World, csv, good_rows

pytestmark = pytest.mark.integration


def test_every_received_row_is_published_or_in_quarantine(world: World) -> None:
    rows = good_rows(JANUARY)
    rows[3][3] = "-1"  # quarantined by a rule
    rows[4][3] = "many"  # not an integer
    rows[5][2] = "5000"  # repaired
    rows[6][0] = "z"  # noted
    rows[7][1] = "2031-01-01T00:00:00Z"  # a future date
    world.drop(csv(rows) + b"a,b\n")  # a record with two fields of four
    report = world.ingest().report
    assert (report["received"], report["published"], report["quarantined"]) == (21, 17, 4)
    assert (report["repaired"], report["noted"]) == (1, 1)
    aside = current_quarantine(world.lakehouse, "readings")
    assert aside is not None
    found = {(r["_row"], r["rule"]) for r in aside.to_pylist()}
    assert found == {(4, "count_positive"), (5, "types"), (8, "within_month"), (21, "row_shape")}
    typed = next(r for r in aside.to_pylist() if r["rule"] == "types")
    assert typed["reason"] == "count: 'many' is not of type integer"
    assert '"many"' in typed["record"]
    assert typed["run"] == "run"
    repaired = next(r for r in world.rows() if r["_repaired"])
    assert (repaired["_row"], repaired["value"], repaired["_repaired"]) == (6, None, "value_possible")
    assert [r["_row"] for r in world.rows() if r["_noted"] == "site_known"] == [7]
    balance = reconcile(world.lakehouse, world.domain.sources["readings"], [JANUARY])[JANUARY]
    assert balance == {"received": 21, "published": 17, "quarantined": 4}


def test_the_same_drop_again_changes_nothing(world: World) -> None:
    world.drop(csv(good_rows(JANUARY)))
    first = world.ingest()
    again = world.ingest(run="another run")
    assert (first.status, again.status) == ("published", "unchanged")
    assert again.snapshot_id == first.snapshot_id
    assert again.report["run"] == "run"


def test_a_corrected_drop_replaces_the_month_and_says_what_changed(world: World) -> None:
    rows = good_rows(JANUARY)
    world.drop(csv(rows))
    world.ingest()
    rows[2][2] = "99.5"
    corrected = [*rows[:10], *rows[11:], ["b", "2020-01-31T00:00:00Z", "1", "1"]]
    world.drop(csv(corrected), name="readings_2.csv")
    later = datetime(2020, 7, 1, tzinfo=UTC)
    change = world.ingest(now=later).report["correction"]
    assert (change["added"], change["removed"], change["changed"]) == (1, 1, 1)
    assert change["by_column"] == {"value": 1}
    assert change["examples"] == ["(a, 2020-01-03 00:00:00+00:00): value 2.0 -> 99.5"]
    known = {r["_row"]: r["_known_at"] for r in world.rows()}
    assert known[3] == later
    assert known[20] == later  # the added row
    assert known[1] is None  # what did not change was known as it happened
    assert len(world.rows()) == 20


def test_a_first_drop_out_of_order_is_published(world: World) -> None:
    for period in (MARCH, JANUARY):
        world.drop(csv(good_rows(period)), period)
        assert world.ingest(period).status == "published"
    assert len(world.rows(JANUARY)) == len(world.rows(MARCH)) == 20
    assert world.rows(FEBRUARY) == []


def test_a_duplicated_row_is_published_once_and_a_contradiction_not_at_all(world: World) -> None:
    rows = good_rows(JANUARY)
    rows.append(list(rows[0]))  # the same again
    rows.append([*rows[1][:2], "77", rows[1][3]])  # the same key, another value
    world.drop(csv(rows))
    assert world.ingest().report["quarantined"] == 3
    values = [r["value"] for r in world.rows()]
    assert values.count(0.0) == 1
    assert 1.0 not in values
    assert 77.0 not in values


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", "readable_file", "empty"),
        (b"site,at,value\na,2020-01-01T00:00:00Z,1\n", "columns_present", "column count"),
        (csv([]), "row_count", "row_count"),
        (csv(good_rows(JANUARY)[:1]), "row_count", "expected 2 to 1000"),
        (csv([[*r[:2], "", r[3]] for r in good_rows(JANUARY)]), "mostly_valued", "mostly_valued"),
        (
            csv([[*r[:3], "-5"] if i % 5 < 2 else r for i, r in enumerate(good_rows(JANUARY))]),
            "quarantined_share",
            "40.0%",
        ),
        (
            csv([[*r[:3], "x"] if i % 5 < 2 else r for i, r in enumerate(good_rows(JANUARY))]),
            "quarantined_share",
            "types 8",
        ),
    ],
)
def test_a_rejected_drop_changes_nothing_that_anyone_reads(
    world: World, content: bytes, reason: str, words: str
) -> None:
    world.drop(csv(good_rows(JANUARY)))
    before = world.ingest()
    world.drop(content, name="readings_2.csv")
    with pytest.raises(DropRejected, match=words) as caught:
        world.ingest()
    assert caught.value.reason == reason
    assert caught.value.todo
    assert "readings_2.csv" in str(caught.value)
    assert world.lakehouse.ledger("raw.readings")[JANUARY].snapshot_id == before.snapshot_id
    assert len(world.rows()) == 20


@pytest.mark.parametrize("compression", ["gzip", "zip"])
def test_a_truncated_archive_is_rejected(world: World, compression: str) -> None:
    world.set_contract({**READINGS, "file": {"compression": compression}})
    content = csv(good_rows(JANUARY))
    buffer = io.BytesIO()
    if compression == "gzip":
        buffer.write(gzip.compress(content))
    else:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("readings.csv", content)
    whole = buffer.getvalue()
    world.drop(whole[: len(whole) // 2])
    with pytest.raises(DropRejected, match=f"not a whole {compression} file"):
        world.ingest()
    world.drop(whole)
    assert world.ingest().report["published"] == 20


def test_a_contract_whose_reference_is_not_published_says_so(tmp_path) -> None:
    world = World(tmp_path)
    world.drop(csv(good_rows(JANUARY)))
    with pytest.raises(ClearwayError, match=r"reads source sites.*not published") as caught:
        world.ingest()
    assert caught.value.todo == "materialize raw/sites first."


def test_no_drop_is_a_clear_error(world: World) -> None:
    with pytest.raises(ClearwayError, match="no file was dropped"):
        world.ingest(FEBRUARY)


def test_a_changed_contract_judges_the_same_drop_again(world: World) -> None:
    rows = good_rows(JANUARY)
    rows[0][3] = "-1"
    world.drop(csv(rows))
    assert world.ingest().report["quarantined"] == 1
    relaxed = {**READINGS, "rules": [r for r in READINGS["rules"] if r["name"] != "count_positive"]}
    world.set_contract(relaxed)
    again = world.ingest()
    assert again.status == "published"
    assert again.report["quarantined"] == 0
    assert again.report["correction"] is None  # the drop is the same: nothing was corrected
    aside = current_quarantine(world.lakehouse, "readings")
    assert aside is not None
    assert aside.num_rows == 0


def test_quarantine_keeps_what_an_earlier_drop_lost(world: World) -> None:
    rows = good_rows(JANUARY)
    rows[0][3] = "-1"
    world.drop(csv(rows))
    world.ingest()
    world.drop(csv(good_rows(JANUARY)), name="readings_2.csv")
    world.ingest()
    history = world.lakehouse.read("quarantine.readings")
    current = current_quarantine(world.lakehouse, "readings")
    assert history is not None
    assert current is not None
    assert (history.num_rows, current.num_rows) == (1, 0)
    assert history.to_pylist()[0]["at"] == NOW
