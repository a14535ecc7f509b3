"""Values of the metrics by month, whole and by the members of a main dimension, read from the published warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.semantics.catalogue import Catalogue, Dimension, Metric
    from serving.semantics.engine import MetricEngine

# A dimension with fewer members has no best and worst, one with more is rather an id.
FEWEST, MOST = 3, 60
AT_ONCE = 20  # metrics that one query may ask for


@dataclass(frozen=True)
class MonthlyValues:
    """The metrics of one table.

    Attributes:
        table: its name.
        totals: value by metric and month; a month without one is left out.
        dimension: the main dimension's label; None when the table has none.
        members: value by metric, month and member of the main dimension.
        base: the metric that counts the table's rows, by which small members are told; None when there is none.
    """

    table: str
    totals: Mapping[str, Mapping[date, float]]
    dimension: str | None
    members: Mapping[str, Mapping[date, Mapping[str, float]]]
    base: str | None


def monthly_values(warehouse_file: Path) -> list[MonthlyValues]:
    """By table, in the order of the catalogue; of tables that were built.

    Raises:
        ClearwayError: there is a warehouse, and it cannot answer.
    """
    if not warehouse_file.exists():
        return []
    from serving.semantics.engine import MetricEngine

    engine = MetricEngine(None, warehouse_file)
    try:
        catalogue = engine.catalogue()
        built = engine.built({table for metric in catalogue.metrics.values() for table in metric.models})
        groups: dict[str, list[Metric]] = {}
        for metric in catalogue.metrics.values():
            if built.keys() >= set(metric.models) and metric.models:
                groups.setdefault(metric.models[0], []).append(metric)
        return [_values(engine, catalogue, table, metrics) for table, metrics in groups.items()]
    finally:
        engine.close()


def _values(engine: MetricEngine, catalogue: Catalogue, table: str, metrics: list[Metric]) -> MonthlyValues:
    plain = [metric.name for metric in metrics if not metric.accumulates]
    totals: dict[str, dict[date, float]] = {}
    for names in (*_batches(plain), *((m.name,) for m in metrics if m.accumulates)):
        for (day, *_), values in _asked(engine, names, ()):
            for name, value in values.items():
                totals.setdefault(name, {})[day] = value
    dimension = main_dimension(engine, catalogue, plain)
    members: dict[str, dict[date, dict[str, float]]] = {}
    for names in _batches(plain) if dimension else ():
        assert dimension is not None
        for (day, member), values in _asked(engine, names, (dimension.qualified,)):
            for name, value in values.items():
                members.setdefault(name, {}).setdefault(day, {})[str(member)] = value
    base = next((m.name for m in metrics if m.kind == "simple" and "better" not in m.meta and not m.accumulates), None)
    return MonthlyValues(table, totals, dimension.label if dimension else None, members, base)


def main_dimension(engine: MetricEngine, catalogue: Catalogue, metrics: list[str]) -> Dimension | None:
    """The first shared dimension with a readable number of members; one that holds names comes before codes."""
    if not metrics:
        return None
    shared = catalogue.shared_dimensions(tuple(metrics)).values()
    for dimension in sorted(shared, key=lambda d: not d.label.lower().endswith("name")):
        values = engine.values((metrics[0],), dimension.qualified)
        if values is not None and FEWEST <= len(values) <= MOST and all(isinstance(v, str) for v in values):
            return dimension
    return None


def _batches(names: list[str]) -> Iterable[tuple[str, ...]]:
    return (tuple(names[start : start + AT_ONCE]) for start in range(0, len(names), AT_ONCE))


def _asked(
    engine: MetricEngine, names: tuple[str, ...], by: tuple[str, ...]
) -> Iterable[tuple[tuple[date, object], dict[str, float]]]:
    """Month and member (None of the whole), and the values that are not null."""
    from serving.semantics.query import TIME, MetricQuery

    answer = engine.query(MetricQuery(metrics=names, group_by=by, grain="month"))
    places = {column: place for place, column in enumerate(answer.columns)}
    for row in answer.rows:
        day, member = row[places[TIME]], row[places[by[0]]] if by else None
        if day is None or (by and member is None):
            continue
        yield (day, member), {name: row[places[name]] for name in names if row[places[name]] is not None}
