"""A Vega-Lite specification for the rows of a metric query, and its picture. Pure: data in, JSON or SVG out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from serving.semantics.query import TIME, MetricQuery

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
MOST_BARS, MOST_POINTS, MOST_LINES = 40, 2000, 12


def chart(
    query: MetricQuery, columns: Sequence[str], rows: Sequence[Sequence[Any]], labels: dict[str, str]
) -> dict[str, Any] | None:
    """Lines over time, bars over groups; None where a picture says no more than the number.

    Args:
        columns, rows: as :class:`serving.semantics.engine.MetricResult` has them.
        labels: of metrics and dimensions, for people.
    """
    if len(rows) < 2:
        return None
    groups = [name for name in columns if name not in query.metrics and name != TIME]
    values = [{name: _plain(value) for name, value in zip(columns, row, strict=True)} for row in rows]
    spec: dict[str, Any] = {"$schema": SCHEMA, "width": 640, "data": {"values": values}}
    several = len(query.metrics) > 1
    if several:
        spec["transform"] = [{"fold": list(query.metrics), "as": ["metric", "value"]}]
    value: dict[str, Any] = {
        "field": "value" if several else query.metrics[0],
        "type": "quantitative",
        "title": None if several else labels.get(query.metrics[0], query.metrics[0]),
    }
    lines = len({tuple(row[columns.index(name)] for name in groups) for row in rows}) * len(query.metrics)
    if TIME in columns:
        if len(rows) > MOST_POINTS or lines > MOST_LINES:
            return None
        colour = "metric" if several else (groups[0] if groups else None)
        spec |= {
            "height": 300,
            "mark": {"type": "line", "point": len(rows) <= 60},
            "encoding": {"x": {"field": TIME, "type": "temporal", "title": None}, "y": value},
        }
        # One line for each combination of groups, whatever gives it its colour.
        if rest := [name for name in groups if name != colour]:
            spec["encoding"]["detail"] = [{"field": name} for name in rest]
        if colour:
            spec["encoding"]["color"] = {"field": colour, "type": "nominal", "title": labels.get(colour, colour)}
        return spec
    if not groups or len(groups) > 2 or (several and len(groups) > 1) or len(rows) > MOST_BARS:
        return None
    spec |= {
        "height": {"step": 22},
        "mark": "bar",
        "encoding": {
            # The order of the rows is the answer's own.
            "y": {"field": groups[0], "type": "nominal", "sort": None, "title": labels.get(groups[0], groups[0])},
            "x": value,
            "tooltip": [{"field": name} for name in columns],
        },
    }
    if several:
        spec["encoding"] |= {"color": {"field": "metric", "type": "nominal"}, "yOffset": {"field": "metric"}}
    elif len(groups) > 1:
        # Beside each other, for a rate must not be stacked.
        spec["encoding"]["color"] = {"field": groups[1], "type": "nominal", "title": labels.get(groups[1], groups[1])}
        spec["encoding"]["yOffset"] = {"field": groups[1]}
    return spec


def svg(spec: dict[str, Any]) -> str:
    """The picture of a specification that :func:`chart` made; without a network."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else float(value)
