"""Lands four months of invented loans: how late a book comes back depends on the branch, the genre and the reader."""

from __future__ import annotations

import csv
import io
import os
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

BRANCHES = {"north": -0.6, "south": 0.4, "east": 0.0, "west": -0.2}
GENRES = {"novel": 0.0, "history": 0.5, "science": 0.3, "children": -0.7}
LOANS_A_MONTH = 1500


def land(landing: Path) -> list[Path]:
    """Drop what is not there yet; the same bytes each time."""
    written = _write(landing / "branches" / "branches.csv", [["branch", "city"], *([b, b.title()] for b in BRANCHES)])
    for month in range(1, 5):
        period = date(2021, month, 1)
        written += _write(landing / "loans" / period.isoformat() / f"loans_{period:%Y_%m}.csv", _loans(period))
    return written


def _loans(period: date) -> list[list[str]]:
    chance = random.Random(period.toordinal())
    readers = {f"r{i:03d}": random.Random(i).gauss(0, 1.0) for i in range(120)}
    rows = [["loan", "branch", "reader", "genre", "lent_at", "due_at", "returned_at"]]
    days = (period.replace(month=period.month + 1) - period).days
    for number in range(LOANS_A_MONTH):
        branch, genre = chance.choice(list(BRANCHES)), chance.choice(list(GENRES))
        reader = chance.choice(list(readers))
        lent = datetime(period.year, period.month, 1, 9, tzinfo=UTC) + timedelta(
            days=chance.randrange(days), minutes=chance.randrange(480)
        )
        due = lent + timedelta(days=7)
        lateness = BRANCHES[branch] + GENRES[genre] + readers[reader] + chance.gauss(-0.8, 1.0)
        returned = due + timedelta(hours=12 * lateness)
        rows.append([f"{period:%Y%m}-{number:05d}", branch, reader, genre, _text(lent), _text(due), _text(returned)])
    return rows


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(target: Path, rows: list[list[str]]) -> list[Path]:
    if target.exists():
        return []
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.write_text(text.getvalue())
    os.replace(part, target)
    return [target]
