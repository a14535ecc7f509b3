"""A bench's result: rows of medians beside a rival's, whether each meets its aim, as a table and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie, interpolated linearly between its neighbours.

    Raises:
        ValueError: there is no value, or ``share`` is not a share.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
        name: what was measured.
        unit: of ``values`` and ``rival_values``.
        values: one a repetition.
        rival: what it is compared with, in words; None for none.
        rival_values: the rival's, measured in the same run.
        aim: the most that the ratio may be or, without a rival, the most that the value may be; None when nothing is
            promised.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    rival: str | None = None
    rival_values: tuple[float, ...] = ()
    aim: float | None = None

    def __post_init__(self) -> None:
        if bool(self.rival) != bool(self.rival_values):
            raise ValueError(f"{self.name}: a rival has values, and only a rival has")
        if not self.values or not all(math.isfinite(v) for v in (*self.values, *self.rival_values)):
            raise ValueError(f"{self.name}: no measurement, or one that is not a number")

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def rival_value(self) -> float | None:
        return median(self.rival_values) if self.rival_values else None

    @property
    def ratio(self) -> float | None:
        """Median over the rival's median; None without a rival, or when the rival's is 0."""
        return self.value / self.rival_value if self.rival_value else None

    @property
    def holds(self) -> bool | None:
        """Whether the aim is met, by what was measured; None without an aim. A ratio that does not exist meets none."""
        if self.aim is None:
            return None
        bound = self.ratio if self.rival else self.value
        return bound is not None and bound <= self.aim

    def as_json(self) -> dict[str, Any]:
        names = ("name", "value", "unit", "rival", "rival_value", "ratio", "aim", "holds")
        return {name: getattr(self, name) for name in names}


def machine() -> dict[str, Any]:
    """The machine that measures: cpu model, cores, memory in GiB, Python, operating system."""
    import psutil

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "os": platform.platform(),
    }


def as_json(rows: Sequence[Row], commit: str, started_at: datetime, *, quick: bool, load: float) -> dict[str, Any]:
    """The content of ``bench/<name>.json``; ``samples`` are the single measurements behind each row.

    Args:
        load: the machine's load average of a minute before the bench, by which to tell a busy machine.
    """
    return {
        "machine": machine(),
        "commit": commit,
        "started_at": started_at.isoformat(timespec="seconds"),
        "quick": quick,
        "load_before": round(load, 2),
        "rows": [row.as_json() for row in rows],
        "samples": [{"name": r.name, "values": list(r.values), "rival_values": list(r.rival_values)} for r in rows],
    }


def write(folder: Path, name: str, content: dict[str, Any]) -> Path:
    """Write ``<folder>/<name>.json`` in one step; the result before is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.json.part"
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    target = folder / f"{name}.json"
    os.replace(part, target)
    return target


def table(title: str, rows: Sequence[Row]) -> Table:
    """The rows for a reader: medians, with the smallest and the largest measurement where there are several."""
    shown = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    shown.add_column("measured", overflow="fold")
    for column in ("median", "rival"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("which is", overflow="fold")
    for column in ("ratio", "aim", "holds"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        verdict = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.holds]
        aim = "" if row.aim is None else f"{row.aim:g}" + ("" if row.rival else f" {row.unit}")
        shown.add_row(
            row.name,
            _quantity(row.values, row.unit),
            _quantity(row.rival_values, row.unit) if row.rival else "",
            row.rival or "",
            "" if row.ratio is None else f"{row.ratio:.3g}",
            aim,
            verdict,
        )
    return shown


def _quantity(values: Sequence[float], unit: str) -> str:
    spread = f" ({_short(min(values))}-{_short(max(values))})" if len(values) > 1 else ""
    return f"{_short(median(values))} {unit}{spread}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
