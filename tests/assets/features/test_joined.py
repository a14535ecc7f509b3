"""Months that were joined before are read back, and only those whose inputs and examples are as before."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from assets.features import joined as module
from assets.features.joined import joined, until

MONTHS = [date(2020, month, 1) for month in (1, 2, 3, 4)]
INPUTS = {**{f"mart/{month}": f"k-{month}" for month in MONTHS}, "repo": "r", "table/": "t"}


class Join:
    """Features that are known by key and time; remembers which rows it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        self.asked.append(len(rows))
        return pd.DataFrame({"view__a": rows["key"] * 2.0, "view__b": [None] * len(rows)}, rows.index).astype(float)


def examples(count: int = 40) -> tuple[pd.DataFrame, pd.Series]:
    times = pd.date_range("2020-01-03", periods=count, freq="3D", tz="UTC")
    rows = pd.DataFrame({"key": range(count), "event_timestamp": times}).sample(frac=1, random_state=1)
    rows = rows.reset_index(drop=True)
    return rows, pd.Series([date(t.year, t.month, 1) for t in rows["event_timestamp"]])


@pytest.fixture
def join() -> Join:
    return Join()


def test_what_comes_back_is_what_the_join_gives(tmp_path: Path, join: Join) -> None:
    rows, periods = examples()
    first = joined(rows, periods, INPUTS, tmp_path, join)
    again = joined(rows, periods, INPUTS, tmp_path, join)
    assert join.asked == [40], "one join for all months, and none the second time"
    for found in (first, again):
        pd.testing.assert_frame_equal(found, Join()(rows))
    assert list(tmp_path.glob("joined/*.part")) == []


def test_only_months_that_changed_are_joined_again(tmp_path: Path, join: Join) -> None:
    rows, periods = examples()
    counts = periods.value_counts()
    joined(rows, periods, INPUTS, tmp_path, join)
    joined(rows, periods, {**INPUTS, "mart/2020-03-01": "corrected"}, tmp_path, join)
    assert join.asked[-1] == counts[MONTHS[1]] + counts[MONTHS[2]] + counts[MONTHS[3]], "earlier months saw none of it"
    late = rows.copy()
    late.loc[periods == MONTHS[0], "key"] += 100
    pd.testing.assert_frame_equal(joined(late, periods, INPUTS, tmp_path, join), Join()(late))
    assert join.asked[-1] == counts[MONTHS[0]]
    joined(rows, periods, {**INPUTS, "repo": "another"}, tmp_path, join)
    assert join.asked[-1] == 40


def test_keys_of_later_periods_bear_on_nothing() -> None:
    assert until(INPUTS, MONTHS[0]) == {name: key for name, key in INPUTS.items() if name[-5:-3] not in ("03", "04")}
    assert until({"mart/2021-01-01": "k"}, date(2020, 12, 1)) == {"mart/2021-01-01": "k"}


def test_the_oldest_months_go_first(tmp_path: Path, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 5)
    rows, periods = examples()
    for version in range(4):
        joined(rows, periods, {**INPUTS, "repo": str(version)}, tmp_path, join)
    assert len(list(tmp_path.glob("joined/*.parquet"))) == 5
    joined(rows, periods, {**INPUTS, "repo": "3"}, tmp_path, join)
    assert len(join.asked) == 4
