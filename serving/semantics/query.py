"""A question about metrics as data, checked against what the catalogue knows before anything is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.errors import ClearwayError
from serving.semantics.catalogue import Catalogue, Dimension
from serving.semantics.period import PATTERN, days_of

TIME = "metric_time"
SUPERLATIVES = ("highest", "lowest", "best", "worst")
Value = bool | int | float | date | str
Grain = Literal["day", "week", "month", "quarter", "year"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]


class QueryError(ClearwayError):
    """The question names something that the catalogue does not have, or asks for it wrongly."""


class Filter(BaseModel):
    """Keeps the rows whose dimension stands in a relation to the values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimension: str = Field(description="Name of a dimension.")
    op: Operator = Field(default="=", description="Relation; `in` and `not in` take many values, `is null` none.")
    values: tuple[Value, ...] = Field(default=(), max_length=1000, description="What to compare with.")

    @model_validator(mode="after")
    def _count(self) -> Filter:
        wanted = {"in": "at least one value", "not in": "at least one value", "is null": "no value"}
        wanted["is not null"] = "no value"
        expected = wanted.get(self.op, "exactly one value")
        fits = {"no value": not self.values, "at least one value": bool(self.values)}
        if not fits.get(expected, len(self.values) == 1):
            raise ValueError(f"'{self.op}' takes {expected}, got {len(self.values)}")
        return self


class MetricQuery(BaseModel):
    """Which metrics, by what, of when.

    The rows are those of `group_by` and, when `grain` is given, of time (a column named `metric_time`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: tuple[str, ...] = Field(min_length=1, max_length=20, description="Names of metrics.")
    group_by: tuple[str, ...] = Field(default=(), max_length=10, description="Names of dimensions.")
    grain: Grain | None = Field(default=None, description="Also group by time, in these steps.")
    where: tuple[Filter, ...] = Field(default=(), max_length=20, description="All of these must hold.")
    since: date | None = Field(default=None, description="First day.")
    until: date | None = Field(default=None, description="First day that is no longer counted.")
    period: str | None = Field(
        default=None,
        pattern=PATTERN,
        description="Instead of since and until, a stretch by its name, such as `last 14 days`, `this month`, `July`, "
        "`Q3 2013`, `April to June`, `since March 5`, `before May`, `through May`; without a year the newest that has "
        "begun by the newest day of the data.",
    )
    order_by: tuple[str, ...] = Field(
        default=(),
        max_length=10,
        description="Metrics, dimensions or metric_time; a leading - means descending. Or `highest`, `lowest`, `best`, "
        "`worst`, by the first metric.",
    )
    limit: int | None = Field(default=None, ge=1, le=100_000, description="At most so many rows.")

    @model_validator(mode="after")
    def _range(self) -> MetricQuery:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"since ({self.since}) must be before until ({self.until})")
        if self.period and (self.since or self.until):
            raise ValueError("period stands instead of since and until, not beside them")
        for name in ("metrics", "group_by"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} names something twice")
        return self


def dated(query: MetricQuery, today: date) -> MetricQuery:
    """The query with days in place of its period; ``today`` is the newest day of the data.

    Raises:
        QueryError: the period names a day that there is not.
    """
    if query.period is None:
        return query
    try:
        since, until = days_of(query.period, today)
    except ValueError as error:
        raise QueryError(f"period {query.period!r}: {error}", todo="name one that there is.") from error
    return query.model_copy(update={"period": None, "since": since, "until": until})


@dataclass(frozen=True)
class Resolved:
    """A question whose names are all known, in MetricFlow's terms.

    Attributes:
        query: the question as asked.
        group_by: qualified names, time last.
        order_by: qualified names with their sign; the groups last, so that equal rows have an order, too.
        accumulates: some metric reaches back before the days that were asked for.
        columns: MetricFlow's column for each column of the answer, which carries the name that was asked for.
        dimensions: every dimension named in a filter, by the name used there.
    """

    query: MetricQuery
    group_by: tuple[str, ...]
    order_by: tuple[str, ...]
    accumulates: bool
    columns: dict[str, str]
    dimensions: dict[str, Dimension]


def resolve(query: MetricQuery, catalogue: Catalogue) -> Resolved:
    """Check every name of a question and give each its full form.

    Raises:
        QueryError: a metric or dimension is not known, is ambiguous or is not shared by all metrics; the message
            names it and the nearest known ones. Or a range cuts a period of a metric that accumulates.
    """
    for metric in query.metrics:
        if metric not in catalogue.metrics:
            raise _unknown("metric", metric, catalogue.metrics)
    shared = catalogue.shared_dimensions(query.metrics)
    groups = {name: _find(name, shared, query.metrics).qualified for name in query.group_by}
    if len(set(groups.values())) < len(groups):
        raise QueryError(f"group_by names one dimension twice: {', '.join(groups)}", todo="name it once.")
    columns = dict(groups)
    if query.grain:
        columns[TIME] = f"{TIME}__{query.grain}"
    grouped = tuple(columns.values())
    columns.update({metric: metric for metric in query.metrics})
    order = []
    for item in query.order_by:
        if item in SUPERLATIVES and item not in columns:
            order.append(_superlative(item, query.metrics[0], catalogue))
            continue
        sign, name = ("-", item[1:]) if item.startswith("-") else ("", item)
        if name not in columns:
            raise _unknown("column to order by", name, columns)
        order.append(sign + columns[name])
    by_groups = sorted(grouped, key=lambda column: not column.startswith(TIME))
    accumulates = any(catalogue.metrics[metric].accumulates for metric in query.metrics)
    if accumulates:
        _whole_periods(query)
    return Resolved(
        query=query,
        group_by=grouped,
        order_by=(*order, *(c for c in by_groups if not {c, f"-{c}"}.intersection(order))),
        accumulates=accumulates,
        columns=columns,
        dimensions={item.dimension: _find(item.dimension, shared, query.metrics) for item in query.where},
    )


def _superlative(word: str, metric: str, catalogue: Catalogue) -> str:
    """The column, with its sign, that has a metric's highest, lowest, best or worst value first."""
    better = catalogue.metrics[metric].meta.get("better")
    if word in ("best", "worst") and better not in ("higher", "lower"):
        raise QueryError(
            f"order_by: of {metric} nobody has said which values are better",
            todo="ask for the highest or the lowest, or declare config.meta.better of the metric.",
        )
    descending = word == "highest" or (word, better) in (("best", "higher"), ("worst", "lower"))
    return f"-{metric}" if descending else metric


def _whole_periods(query: MetricQuery) -> None:
    """MetricFlow widens the range of a metric that accumulates to whole periods; say so rather than do it silently."""
    starts = {
        "week": lambda day: day.weekday() == 0,
        "month": lambda day: day.day == 1,
        "quarter": lambda day: day.day == 1 and day.month % 3 == 1,
        "year": lambda day: (day.month, day.day) == (1, 1),
    }
    begins = starts.get(query.grain or "day")
    for name, day in (("since", query.since), ("until", query.until)):
        if begins and day and not begins(day):
            raise QueryError(
                f"{name} ({day}) cuts a {query.grain}, and a metric that accumulates is given for whole ones",
                todo=f"begin and end the range with a {query.grain}, or use grain 'day'.",
            )


def _find(name: str, shared: dict[str, Dimension], metrics: tuple[str, ...]) -> Dimension:
    found = [dimension for dimension in shared.values() if name in (dimension.name, dimension.qualified)]
    if len(found) == 1:
        return found[0]
    if found:
        raise QueryError(
            f"dimension {name!r} is ambiguous: {', '.join(d.qualified for d in found)}",
            todo="use one of these full names.",
        )
    raise _unknown(f"dimension of {', '.join(metrics)}", name, [d.name for d in shared.values()])


def _unknown(what: str, name: str, known: Iterable[str]) -> QueryError:
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    todo = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names)}."
    return QueryError(f"unknown {what}: {name[:200]!r}", todo=todo)
