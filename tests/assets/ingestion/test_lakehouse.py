"""Publishing moves main only from where the branch began."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from assets.ingestion.lakehouse import Lakehouse
from serving.errors import ClearwayError

pytestmark = pytest.mark.integration
MONTHS = [date(2020, m, 1) for m in range(1, 7)]


def lake(folder: Path) -> Lakehouse:
    return Lakehouse(f"sqlite:///{folder}/catalog.db", f"file://{folder}/tables")


def rows(*values: int) -> pa.Table:
    return pa.table({"value": pa.array(values, pa.int64())})


def accept(stored: pa.Table) -> None:
    assert stored.num_rows


def test_two_partitions_staged_from_one_base_are_both_published(tmp_path: Path) -> None:
    """The second publisher stages while the first moves main: it must notice and stage again."""
    store = lake(tmp_path)
    store.publish("raw.t", rows(0), MONTHS[0], "k0", {}, accept)
    staged = []

    def publish_another_meanwhile(stored: pa.Table) -> None:
        staged.append(stored.num_rows)
        if len(staged) == 1:
            lake(tmp_path).publish("raw.t", rows(1, 2), MONTHS[1], "k1", {}, accept)

    store.publish("raw.t", rows(3, 4, 5), MONTHS[2], "k2", {}, publish_another_meanwhile)
    assert staged == [3, 3]
    table = store.read("raw.t")
    assert table is not None
    assert sorted(table.column("value").to_pylist()) == [0, 1, 2, 3, 4, 5]
    assert {p: e.key for p, e in store.ledger("raw.t").items()} == {MONTHS[0]: "k0", MONTHS[1]: "k1", MONTHS[2]: "k2"}


def test_many_publishers_at_once_lose_nothing(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def publish(month: date) -> None:
        try:
            lake(tmp_path).publish("raw.t", rows(month.month, month.month), month, f"k{month.month}", {}, accept)
        except BaseException as error:
            errors.append(error)

    lake(tmp_path).publish("raw.t", rows(99), date(2019, 1, 1), "first", {}, accept)
    threads = [threading.Thread(target=publish, args=(m,)) for m in MONTHS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    table = lake(tmp_path).read("raw.t")
    assert table is not None
    assert sorted(table.column("value").to_pylist()) == sorted([99, *(m.month for m in MONTHS for _ in range(2))])


def test_a_refused_audit_leaves_main_where_it_was(tmp_path: Path) -> None:
    store = lake(tmp_path)
    store.publish("raw.t", rows(1), MONTHS[0], "k", {}, accept)

    def refuse(stored: pa.Table) -> None:
        raise ClearwayError("refused")

    with pytest.raises(ClearwayError, match="refused"):
        store.publish("raw.t", rows(2), MONTHS[0], "other", {}, refuse)
    table = store.read("raw.t", period=MONTHS[0])
    assert table is not None
    assert table.column("value").to_pylist() == [1]
    assert store.ledger("raw.t")[MONTHS[0]].key == "k"


def test_a_new_column_is_added_and_a_dropped_one_stays_empty(tmp_path: Path) -> None:
    store = lake(tmp_path)
    store.publish("raw.t", rows(1), MONTHS[0], "a", {}, accept)
    wider = pa.table({"value": pa.array([2], pa.int64()), "more": pa.array(["x"], pa.string())})
    store.publish("raw.t", wider, MONTHS[1], "b", {}, accept)
    store.publish("raw.t", rows(3), MONTHS[2], "c", {}, accept)
    table = store.read("raw.t")
    assert table is not None
    found = {r["value"]: r["more"] for r in table.to_pylist()}
    assert found == {1: None, 2: "x", 3: None}


def test_replacing_rows_twice_does_not_double_them(tmp_path: Path) -> None:
    store = lake(tmp_path)
    part = pa.table({"slot": pa.array(["a", "a"], pa.string()), "value": pa.array([1, 2], pa.int64())})
    for _ in range(2):
        store.replace_rows("quarantine.t", part, "slot", "a")
    store.replace_rows("quarantine.t", part.slice(0, 0), "slot", "b")
    table = store.read("quarantine.t")
    assert table is not None
    assert table.column("value").to_pylist() == [1, 2]


def test_no_staging_branch_is_left(tmp_path: Path) -> None:
    store = lake(tmp_path)
    for _ in range(2):
        store.publish("raw.t", rows(1), MONTHS[0], "k", {}, accept)
    table = store.load("raw.t")
    assert table is not None
    assert list(table.refs()) == ["main"]


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file where the folder should be")
    with pytest.raises(ClearwayError, match="cannot be written") as caught:
        lake(tmp_path).publish("raw.t", rows(1), MONTHS[0], "k", {}, accept)
    assert "readers see what they saw before" in (caught.value.untouched or "")
