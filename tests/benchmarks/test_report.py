"""Rows say whether an aim is met by what was measured, and the report holds what the format promises."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks import report
from benchmarks.report import Row, percentile

FIELDS = ["name", "value", "unit", "rival", "rival_value", "ratio", "aim", "holds"]
numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(numbers, st.floats(0, 1))
def test_percentile_is_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.01), ([1.0], -0.01)])
def test_percentile_of_nothing_or_beyond_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_value_and_ratio_are_of_medians() -> None:
    row = Row("time", "s", (4.0, 1.0, 3.0), "plain", (2.0, 9.0, 1.0))
    assert (row.value, row.rival_value, row.ratio) == (3.0, 2.0, 1.5)


@pytest.mark.parametrize(
    ("values", "rival_values", "aim", "holds"),
    [
        ((1.25,), (1.0,), 1.25, True),  # at the aim it is met
        ((1.26,), (1.0,), 1.25, False),
        ((9.0, 1.0, 9.0), (8.0, 8.0, 8.0), 1.2, True),  # one good or bad measurement does not decide
        ((100.0,), (1.0,), None, None),
        ((1.0,), (0.0,), 5.0, False),  # a ratio that does not exist meets no aim
        ((2.9,), (), 3.0, True),  # without a rival the value itself is bounded
        ((3.1,), (), 3.0, False),
        ((3.1,), (), None, None),
    ],
)
def test_holds_is_computed(
    values: tuple[float, ...], rival_values: tuple[float, ...], aim: float | None, holds: bool | None
) -> None:
    assert Row("x", "s", values, "rival" if rival_values else None, rival_values, aim).holds is holds


@pytest.mark.parametrize(
    ("values", "rival", "rival_values"),
    [
        ((), None, ()),
        ((float("nan"),), None, ()),
        ((1.0,), "rival", (float("inf"),)),
        ((1.0,), "rival", ()),
        ((1.0,), None, (1.0,)),
    ],
)
def test_what_was_not_measured_is_no_row(
    values: tuple[float, ...], rival: str | None, rival_values: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="x: "):
        Row("x", "s", values, rival, rival_values)


def test_the_file_has_the_promised_fields(tmp_path: Path) -> None:
    rows = [Row("a", "s", (1.0, 2.0), "b", (4.0, 4.0), 1.25), Row("c", "ms", (5.0,))]
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    file = report.write(tmp_path / "bench", "x", report.as_json(rows, "abc", started, quick=True, load=0.5))
    content = json.loads(file.read_text())
    assert file == tmp_path / "bench" / "x.json"
    assert list(tmp_path.rglob("*.part")) == []
    assert (content["commit"], content["started_at"]) == ("abc", "2026-01-02T03:04:05+00:00")
    assert (content["quick"], content["load_before"]) == (True, 0.5)
    assert list(content["machine"]) == ["cpu", "cores", "memory_gib", "python", "os"]
    assert all(content["machine"].values())
    assert [list(row) for row in content["rows"]] == [FIELDS, FIELDS]
    assert list(content["rows"][0].values()) == ["a", 1.5, "s", "b", 4.0, 0.375, 1.25, True]
    assert list(content["rows"][1].values()) == ["c", 5.0, "ms", None, None, None, None, None]
    assert content["samples"][0] == {"name": "a", "values": [1.0, 2.0], "rival_values": [4.0, 4.0]}


def test_the_table_shows_medians_spread_and_verdict() -> None:
    console = Console(width=150)
    rows = [Row("a", "s", (1.0, 2.0, 6.0), "plain", (1.0,), 1.25), Row("c", "ms", (1234.0,), aim=2000)]
    with console.capture() as captured:
        console.print(report.table("title", rows))
    text = captured.get()
    for part in ("2 s (1-6)", "1 s", "plain", "1.25", "no", "1,234 ms", "2000 ms", "yes"):
        assert part in text
