"""What an answer about metrics is: rows, the query behind them, its SQL, what the metrics mean, how fresh they are."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError
from serving.semantics import reply
from serving.semantics.catalogue import Catalogue
from serving.semantics.chart import chart
from serving.semantics.linking import Linker, linker
from serving.semantics.query import TIME, MetricQuery, dated
from serving.semantics.values import checked, mended
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.semantics.engine import MetricEngine

MOST_ROWS = 10_000


class Answers:
    """Answers from the published warehouse. Blocking, and safe between threads.

    MetricFlow takes seconds to import, so it is at the first question.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: MetricEngine | None = None
        self._schema: tuple[Catalogue, dict[str, Any]] | None = None
        self._linker: tuple[Any, Linker] | None = None

    def engine(self) -> MetricEngine:
        """The engine on the published warehouse and the manifest that was published with it."""
        with self._lock:
            if self._opened is None:
                from serving.semantics.engine import MetricEngine

                self._opened = MetricEngine(None, self._settings.warehouse_file)
            return self._opened

    def context(self) -> tuple[date, dict[str, Any], Linker]:
        """The newest day of the data, the schema that a reply of the copilot is held to, and who knows all values.

        Raises:
            ClearwayError: the warehouse cannot be read or has no day.
        """
        catalogue = self.engine().catalogue()
        if self._schema is None or self._schema[0] is not catalogue:
            self._schema = (catalogue, reply.schema(catalogue))
        stamp = self.engine().stamp()
        if self._linker is None or self._linker[0] != stamp:
            self._linker = (stamp, linker(self.engine()))
        return self._days()[1], self._schema[1], self._linker[1]

    def _days(self) -> tuple[date, date]:
        days = self.engine().days()
        if days is None:
            raise ClearwayError("the warehouse has no day yet", todo="build it, then ask again.")
        return days

    def known(self) -> dict[str, Any]:
        """Metrics, what each can be grouped and filtered by, and the days that there are."""
        catalogue = self.engine().catalogue()
        days = self.engine().days()
        return {
            "days": {"first": days[0], "last": days[1]} if days else None,
            "metrics": [self._described(catalogue, name) for name in sorted(catalogue.metrics)],
        }

    def refuse_unknown(self, query: MetricQuery) -> None:
        """Nothing when the query could be run now.

        Raises:
            QueryError: it names something unknown.
            ClearwayError: the warehouse cannot be read.
        """
        engine = self.engine()
        checked(query, engine.catalogue(), engine.values)

    def mended(self, query: MetricQuery, question: str, named: Mapping[str, Sequence[str]]) -> MetricQuery:
        """The query that a model wrote for a question, with slips in its filters set right; as :func:`mended` does."""
        engine = self.engine()
        return mended(query, engine.catalogue(), engine.values, question, named)

    def outside(self, query: MetricQuery) -> dict[str, Any] | None:
        """A refusal when all days that are asked for lie outside of the data; None when some do not."""
        first, last = self._days()
        asked = dated(query, last)
        if (asked.until and asked.until <= first) or (asked.since and asked.since > last):
            message = f"there is data from {first} to {last} only"
            written = query.model_dump(mode="json", exclude_defaults=True)
            return {"refused": {"reason": "no_such_time", "message": message}, "query": written}
        return None

    def answer(self, query: MetricQuery) -> dict[str, Any]:
        """Rows, the query that ran, its SQL, each metric's definition and freshness, and a chart.

        Raises:
            QueryError: the query names something unknown, or MetricFlow cannot answer it.
            ClearwayError: the warehouse cannot be read.
        """
        engine = self.engine()
        catalogue = engine.catalogue()
        query = checked(query, catalogue, engine.values)
        found = engine.query(_bounded(query))
        rows = [tuple(map(_plain, row)) for row in found.rows[: query.limit or MOST_ROWS]]
        return {
            **self._said(query, catalogue),
            "columns": found.columns,
            "rows": rows,
            "truncated": len(found.rows) > len(rows),
            "sql": found.sql,
            "chart": chart(query, found.columns, rows, _labels(catalogue, query)),
        }

    def explain(self, query: MetricQuery) -> dict[str, Any]:
        """What :meth:`answer` would run, not run."""
        engine = self.engine()
        catalogue = engine.catalogue()
        query = checked(query, catalogue, engine.values)
        return {**self._said(query, catalogue), "sql": engine.compile(_bounded(query))}

    def _said(self, query: MetricQuery, catalogue: Catalogue) -> dict[str, Any]:
        days = self._days() if query.period else None
        asked = dated(query, days[1]) if days else query
        return {
            "query": query.model_dump(mode="json", exclude_defaults=True),
            "since": asked.since,
            "until": asked.until,
            "metrics": [self._described(catalogue, name) for name in query.metrics],
        }

    def _described(self, catalogue: Catalogue, name: str) -> dict[str, Any]:
        metric = catalogue.metrics[name]
        built = self.engine().built(metric.models)
        return {
            "name": name,
            "label": metric.label,
            "description": metric.description,
            "kind": metric.kind,
            "made_of": metric.inputs,
            "models": [
                {"name": model, "built_at": built[model].at if model in built else None,
                 "newest_period": built[model].period if model in built else None}
                for model in metric.models
            ],
            "dimensions": [
                {"name": d.name, "qualified": d.qualified, "label": d.label, "description": d.description}
                for d in metric.dimensions.values()
            ],
        }  # fmt: skip


def _bounded(query: MetricQuery) -> MetricQuery:
    """With an end where the query has none: one row more than is given, which tells that there are more."""
    return query if query.limit else query.model_copy(update={"limit": MOST_ROWS + 1})


def _plain(value: Any) -> Any:
    """A value that JSON has a word for."""
    return float(value) if isinstance(value, Decimal) else value


def _labels(catalogue: Catalogue, query: MetricQuery) -> dict[str, str]:
    labels = {TIME: "Time"}
    for name in query.metrics:
        metric = catalogue.metrics[name]
        labels[name] = metric.label
        for dimension in metric.dimensions.values():
            labels |= {dimension.name: dimension.label, dimension.qualified: dimension.label}
    return labels
