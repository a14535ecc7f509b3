"""Metadata that is worth looking at in the UI: tables and pictures."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg


def picture(png: bytes, alternative: str) -> dg.MetadataValue:
    """A PNG inside a Markdown value; the UI shows it in the asset's page."""
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows of plain values as a table; the columns are those of the first row. Without a row a word says so."""
    if not rows:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table([dg.TableRecord({k: _plain(v) for k, v in row.items()}) for row in rows])


def _plain(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def short(value: Any) -> Any:
    """Six significant digits are enough to read."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Short numbers; none where there is none, for which JSON has no number."""
    return {n: None if isinstance(v, float) and not math.isfinite(v) else short(v) for n, v in row.items()}
