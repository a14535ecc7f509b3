"""Rows of a declared query as sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

_HOLE = re.compile(r"\{(\w+)\}")
_OVERALL = re.compile(r"\{(sum|mean):(\w+)(?::(\w+))?\}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def sentence(template: str, row: Mapping[str, Any]) -> str:
    """A row as the declared sentence; what is empty is told as unknown."""
    return _HOLE.sub(lambda match: _said(row.get(match[1])), template)


def heading(template: str, rows: Sequence[Mapping[str, Any]], more: bool) -> str:
    """What is said of all rows together.

    ``{rows}`` is their number; ``{sum:column}`` and ``{mean:column}`` are of the rows that have a value, and
    ``{mean:column:weight}`` weighs each row by another column. A sentence without any value to tell is left out.

    Args:
        more: there are rows beyond these.
    """
    counted = f"{len(rows)}{' or more' if more else ''}"
    told = []
    for part in _SENTENCE.split(template.replace("{rows}", counted)):
        values = {match[0]: _overall(match, rows) for match in _OVERALL.finditer(part)}
        if None in values.values():
            continue
        told.append(_OVERALL.sub(lambda match, values=values: _said(values[match[0]]), part))
    return " ".join(told)


def columns(template: str) -> set[str]:
    """The columns that a sentence or a heading names."""
    overall = {name for match in _OVERALL.finditer(template) for name in match.groups()[1:] if name}
    return {match[1] for match in _HOLE.finditer(template)} | overall


def _overall(match: re.Match[str], rows: Sequence[Mapping[str, Any]]) -> float | int | None:
    how, column, weight = match.groups()
    found = [(row.get(column), row.get(weight) if weight else 1) for row in rows]
    pairs = [(value, share) for value, share in found if _number(value) and _number(share)]
    if how == "sum":
        return sum(value for value, _ in pairs) if pairs else None
    total = sum(share for _, share in pairs)
    return sum(value * share for value, share in pairs) / total if total else None


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _said(value: Any) -> str:
    if value is None or value == "":
        return "unknown"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and value > 9999 else str(value)
