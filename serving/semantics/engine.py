"""MetricFlow in process, on the published warehouse.

MetricFlow writes the SQL and the engine runs it: no dbt adapter, hence no profile, no global state and no connection
kept by name. The file is attached read-only under a fixed name and attached anew once it has been replaced; a question
that is running keeps the file it started on.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError
from serving.semantics.catalogue import Catalogue, read_manifest
from serving.semantics.compiler import DATABASE, Compiler
from serving.semantics.published import read_from
from serving.semantics.query import TIME, MetricQuery, QueryError, Value, dated

if TYPE_CHECKING:
    import duckdb

# Values of a dimension that are kept and compared; seconds that a query may take; memory of all that run.
MOST_VALUES, LONGEST_S, MEMORY = 5000, 30.0, "2GB"
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class MetricResult:
    """The answer to one question.

    Attributes:
        columns: names as asked for: dimensions, `metric_time` when grouped by time, then metrics.
        rows: values in the order of the columns; a null group or an undefined ratio is None.
        sql: the statement that gave them.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    sql: str


@dataclass(frozen=True)
class Built:
    """When a table was last built (UTC), and the newest period in it; None of one that has no periods."""

    at: datetime
    period: date | None


class MetricEngine:
    """Answers metric queries; safe to share between threads.

    Args:
        semantic_manifest: `semantic_manifest.json` of the dbt target folder, read again when it changes; None for
            the one that was published with the warehouse.
        warehouse_file: the published DuckDB file; attached again when it is replaced.
        threads: cores that one question may use.
    """

    def __init__(self, semantic_manifest: Path | None, warehouse_file: Path, *, threads: int = 2) -> None:
        self._manifest_file = semantic_manifest
        self._warehouse_file = warehouse_file
        self._threads = threads
        self._lock = threading.Lock()
        self._semantics: tuple[Stamp | None, dict[str, Any], Compiler] | None = None
        self._warehouse: _Warehouse | None = None
        self._values: tuple[Stamp | None, dict[tuple[str, str], frozenset[Value] | None]] = (None, {})
        self._days: tuple[Stamp | None, tuple[date, date] | None] | None = None

    def catalogue(self) -> Catalogue:
        """The metrics that can be asked for now.

        Raises:
            ClearwayError: the semantic manifest cannot be read.
        """
        with self._lock:
            return self._current_semantics().catalogue

    def stamp(self) -> Stamp | None:
        """Of the published file: another one when another is published; None while there is none."""
        return _stamp(self._warehouse_file)

    def compile(self, query: MetricQuery) -> str:
        """The SQL of a question, not run.

        Raises:
            QueryError: the question names something unknown, or MetricFlow cannot answer it.
            ClearwayError: the semantic manifest cannot be read; or, for a query with a period, the warehouse.
        """
        query = self._dated(query)
        with self._lock:
            return self._current_semantics().compile(query)[1]

    def days(self) -> tuple[date, date] | None:
        """The first and the newest day of the metrics, by which periods are understood; None when there is no value.

        What is built by period counts, where something is: a mart of served requests has the days that callers name.

        Raises:
            ClearwayError: the manifest or the warehouse cannot be read.
        """
        stamp = _stamp(self._warehouse_file)
        with self._lock:
            if self._days is not None and self._days[0] == stamp:
                return self._days[1]
        plain = {m.models: m for m in self.catalogue().metrics.values() if not m.accumulates}
        built = self.built(model for models in plain for model in models)
        dated = {name for name, each in built.items() if each.period is not None}
        asked = [m for models, m in plain.items() if dated.intersection(models)] or list(plain.values())
        found: list[date] = []
        problem: ClearwayError | None = None
        for metric in asked:
            try:
                for order in (TIME, f"-{TIME}"):
                    query = MetricQuery(metrics=(metric.name,), grain="day", order_by=(order,), limit=1)
                    found += [row[0] for row in self.query(query).rows if row[0] is not None]
            except ClearwayError as error:  # a mart that is not built yet holds up no other
                problem = error
        if problem is not None and not found:
            raise problem
        days = (min(found), max(found)) if found else None
        with self._lock:
            self._days = (stamp, days)
        return days

    def values(self, metrics: tuple[str, ...], dimension: str) -> frozenset[Value] | None:
        """The values of a dimension (its qualified name) among the rows of these metrics, null left out.

        They are kept until the warehouse is replaced.

        Returns:
            None of a dimension with more than ``MOST_VALUES``, such as an id.

        Raises:
            QueryError: a metric or the dimension is not known.
            ClearwayError: the manifest or the warehouse cannot be read.
        """
        found: set[Value] = set()
        for metric in metrics:
            known = self._values_of(metric, dimension)
            if known is None:
                return None
            found |= known
        return frozenset(found)

    def _values_of(self, metric: str, dimension: str) -> frozenset[Value] | None:
        stamp, key = _stamp(self._warehouse_file), (metric, dimension)
        with self._lock:
            if self._values[0] != stamp:
                self._values = (stamp, {})
            if key in self._values[1]:
                return self._values[1][key]
        catalogue = self.catalogue()
        plain = metric
        if plain not in catalogue.metrics:  # renamed since the caller looked
            raise QueryError(f"unknown metric: {plain!r}", todo="ask again: the metrics have just changed.")
        while catalogue.metrics[plain].accumulates:  # MetricFlow gives those by time only; their input has the rows
            plain = catalogue.metrics[plain].inputs[0]
        found = self.query(MetricQuery(metrics=(plain,), group_by=(dimension,), limit=MOST_VALUES + 1))
        values = None
        if len(found.rows) <= MOST_VALUES:
            values = frozenset(row[0] for row in found.rows if row[0] is not None)
        with self._lock:
            if self._values[0] == stamp:
                self._values[1][key] = values
        return values

    def built(self, models: Iterable[str]) -> dict[str, Built]:
        """When each of these dbt models was last built, and how far; without those that were never."""
        import duckdb

        with self._lock:
            cursor = self._current_warehouse().cursor()
        try:
            rows = cursor.execute(
                f"select model, max(built_at), max(period) from {DATABASE}.clearway.builds"
                " where list_contains(?, model) group by model",
                [list(dict.fromkeys(models))],
            ).fetchall()
        except duckdb.CatalogException:  # a warehouse without a ledger says nothing of its age
            return {}
        finally:
            cursor.close()
        return {model: Built(at, period) for model, at, period in rows}

    def _dated(self, query: MetricQuery) -> MetricQuery:
        if query.period is None:
            return query
        days = self.days()
        if days is None:
            raise ClearwayError(f"{self._warehouse_file} has no day yet, so there is no {query.period!r}",
                                untouched="the warehouse.", todo="build it first.")  # fmt: skip
        return dated(query, days[1])

    def query(self, query: MetricQuery) -> MetricResult:
        """Answer a question from the published warehouse.

        Raises:
            QueryError: the question names something unknown, or MetricFlow cannot answer it.
            ClearwayError: the manifest or the warehouse cannot be read, or they disagree.
        """
        import duckdb

        query = self._dated(query)
        with self._lock:
            resolved, sql = self._current_semantics().compile(query)
            cursor = self._current_warehouse().cursor()
        late = threading.Timer(LONGEST_S, cursor.interrupt)
        late.start()
        try:
            answer = cursor.execute(sql)
            names = [column[0] for column in answer.description or []]
            rows = answer.fetchall()
        except duckdb.InterruptException as error:
            raise QueryError(f"the query took longer than {LONGEST_S:g} s", todo="ask for fewer groups.") from error
        except duckdb.BinderException as error:
            if not query.where or "compare" not in str(error).lower():
                raise self._unanswered(error) from error
            raise QueryError(
                f"a filter value does not fit its dimension: {error}", todo="compare it with a value of its type."
            ) from error
        except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
            raise QueryError(
                f"a filter value does not fit its dimension: {error}", todo="compare it with a value of its type."
            ) from error
        except duckdb.Error as error:
            raise self._unanswered(error) from error
        finally:
            late.cancel()
            cursor.close()
        places = [names.index(column) for column in resolved.columns.values()]
        return MetricResult(
            columns=tuple(resolved.columns),
            rows=tuple(tuple(_plain(row[place]) for place in places) for row in rows),
            sql=sql,
        )

    def _unanswered(self, error: Exception) -> ClearwayError:
        return ClearwayError(
            f"{self._warehouse_file}: the warehouse could not answer: {error}",
            untouched="the warehouse; it is opened read-only.",
            todo="build the warehouse, so that it has what the semantic manifest describes.",
        )

    def close(self) -> None:
        """Let go of the warehouse file; the next question opens it again."""
        with self._lock:
            if self._warehouse:
                self._warehouse.root.close()
                self._warehouse = None

    def _current_semantics(self) -> Compiler:
        stamp = _stamp(self._manifest_file or self._warehouse_file)
        if self._semantics is None or stamp is None or self._semantics[0] != stamp:
            read = read_manifest(self._manifest_file) if self._manifest_file else self._published_manifest()
            same = self._semantics is not None and self._semantics[1] == read  # another build, the same metrics
            compiler = self._semantics[2] if same and self._semantics is not None else Compiler(copy.deepcopy(read))
            self._semantics = (stamp, read, compiler)
        return self._semantics[2]

    def _published_manifest(self) -> dict[str, Any]:
        cursor = self._current_warehouse().cursor()
        try:
            return read_from(cursor, DATABASE, self._warehouse_file)
        finally:
            cursor.close()

    def _current_warehouse(self) -> duckdb.DuckDBPyConnection:
        stamp = _stamp(self._warehouse_file)
        if stamp is None:
            raise ClearwayError(
                f"{self._warehouse_file}: there is no published warehouse",
                untouched="everything; nothing was asked.",
                todo="build the warehouse, then ask again.",
            )
        if self._warehouse is None or self._warehouse.stamp != stamp:
            opened = _Warehouse(_attach(self._warehouse_file, self._threads), stamp)
            if self._warehouse:
                self._warehouse.root.close()  # cursors of running questions keep their own hold on it
            self._warehouse = opened
        return self._warehouse.root


@dataclass(frozen=True)
class _Warehouse:
    root: duckdb.DuckDBPyConnection
    stamp: Stamp


def _attach(warehouse_file: Path, threads: int) -> duckdb.DuckDBPyConnection:
    """A database of its own with the file attached read-only.

    Opening the file itself would find the replaced one still cached for this path while a question runs on it.
    """
    import duckdb

    root = duckdb.connect(":memory:", config={"threads": threads, "memory_limit": MEMORY})
    try:
        path = str(warehouse_file).replace("'", "''")
        root.execute(f"attach '{path}' as {DATABASE} (read_only)")
        root.execute("set global TimeZone = 'UTC'")
        # A time spine is short: comparing each of its days is faster than sorting the facts for a range join.
        root.execute("set global nested_loop_join_threshold = 1000")
        # Nothing that is asked may read another file, load an extension or change these settings.
        root.execute("set enable_external_access = false")
        root.execute("set lock_configuration = true")
    except duckdb.Error as error:
        root.close()
        raise ClearwayError(
            f"{warehouse_file}: the published warehouse cannot be opened: {error}",
            untouched="the file; it is opened read-only.",
            todo="end the process that holds it for writing, or build the warehouse again.",
        ) from error
    return root


def _plain(value: Any) -> Any:
    """A period as its first day: the database gives a date for a day and a timestamp for anything longer."""
    return value.date() if isinstance(value, datetime) else value


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
