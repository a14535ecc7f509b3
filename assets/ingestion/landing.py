"""Where files are dropped: ``landing/<source>/<period>/<file>``, or ``landing/<source>/<file>`` without partitions.

A folder may hold several drops of one period; the newest is the current one. Files that end in ``.part`` or begin
with a dot are still being written and are not looked at.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from serving.errors import ClearwayError


@dataclass(frozen=True)
class Drop:
    """A dropped file: its source, the period it is for (None without partitions), and where it lies."""

    source: str
    period: date | None
    path: Path


def folder(landing: Path, source: str, period: date | None) -> Path:
    return landing / source / period.isoformat() if period else landing / source


def current_drop(landing: Path, source: str, period: date | None) -> Drop:
    """The newest drop of a source and period.

    Raises:
        ClearwayError: nothing was dropped.
    """
    where = folder(landing, source, period)
    files = _files(where)
    if not files:
        raise ClearwayError(
            f"source {source}{f', period {period}' if period else ''}: no file was dropped in {where}.",
            untouched="everything; nothing was read.",
            todo="put the file there, or run `make run` to land the sample of the reference domain.",
        )
    return Drop(source, period, max(files, key=lambda f: (f.stat().st_mtime_ns, f.name)))


def all_drops(landing: Path) -> list[Drop]:
    """The current drop of every source and period that has one, in the order of source and period."""
    drops = []
    for source in sorted(p for p in landing.glob("*") if p.is_dir()):
        if _files(source):
            drops.append(current_drop(landing, source.name, None))
        for sub in sorted(p for p in source.glob("*") if p.is_dir()):
            try:
                period = date.fromisoformat(sub.name)
            except ValueError:
                continue
            if _files(sub):
                drops.append(current_drop(landing, source.name, period))
    return drops


def put(landing: Path, source: str, period: date | None, file: Path, name: str | None = None) -> Path:
    """Drop a file: copied beside its place, then moved there in one step."""
    where = folder(landing, source, period)
    where.mkdir(parents=True, exist_ok=True)
    target = where / (name or file.name)
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(file, part)
    os.replace(part, target)
    return target


def _files(where: Path) -> list[Path]:
    if not where.is_dir():
        return []
    return [f for f in where.iterdir() if f.is_file() and not f.name.startswith(".") and f.suffix != ".part"]
