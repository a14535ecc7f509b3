"""Records of reviews: written whole, once, and read back in order."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from assets.monitoring.record import Record, Records
from serving.errors import ClearwayError
from serving.settings import PROJECT

RECORD = Record("wilting", "2024-03-01", 1, "2024-04-02T00:00:00+00:00", "1", "wait", "it costs more than it saves")


def test_they_are_read_as_written_by_period_and_revision(tmp_path: Path) -> None:
    records = Records(tmp_path, "wilting")
    assert (records.all(), records.retraining(), records.of(date(2024, 3, 1))) == ([], None, None)
    april = replace(RECORD, period="2024-04-01", action="retrain", cut="2024-04-17T00:00:00+00:00")
    again = replace(RECORD, revision=2, numbers={"gain": 0.01}, alarms=[{"name": "model", "raised_on": "2024-03-09"}])
    for record in (april, RECORD, again):
        records.write(record)
    assert records.all() == [RECORD, again, april]
    assert records.of(date(2024, 3, 1)) == again
    assert records.retraining() == april
    assert [r.id for r in records.all()] == ["wilting-2024-03-1", "wilting-2024-03-2", "wilting-2024-04-1"]
    assert again.raised == [{"name": "model", "raised_on": "2024-03-09"}]
    assert Records(tmp_path, "other").all() == []


def test_a_record_is_written_once(tmp_path: Path) -> None:
    records = Records(tmp_path, "wilting")
    records.write(RECORD)
    with pytest.raises(ClearwayError, match=r"2024-03-01-1\.json: the record of the review cannot be written"):
        records.write(replace(RECORD, action="retrain"))
    assert records.all() == [RECORD]


def test_one_that_cannot_be_read_stops_everything_that_would_follow_from_it(tmp_path: Path) -> None:
    records = Records(tmp_path, "wilting")
    records.write(RECORD)
    (tmp_path / "wilting" / "2024-04-01-1.json").write_text("{")
    with pytest.raises(ClearwayError, match=r"2024-04-01-1\.json: the record of a review cannot be read") as error:
        records.all()
    assert "decided twice" in (error.value.todo or "")


@pytest.mark.faults
@pytest.mark.parametrize(("boundary", "kept"), [("review.decided", 0), ("review.recorded", 1)])
def test_killed_it_leaves_a_whole_record_or_none(tmp_path: Path, boundary: str, kept: int) -> None:
    code = (
        "from pathlib import Path; from tests.assets.monitoring.test_record import RECORD, Records;"
        f"Records(Path({str(tmp_path)!r}), 'wilting').write(RECORD)"
    )
    environment = {**os.environ, "CLEARWAY_CRASH_AT": boundary}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, timeout=60)
    assert done.returncode == -9
    records = Records(tmp_path, "wilting")
    assert len(records.all()) == kept
    if not kept:
        records.write(RECORD)
    assert records.all() == [RECORD]
