"""MetricFlow in process, on the published warehouse.

MetricFlow writes the SQL and the engine runs it: no dbt adapter, hence no profile, no global state and no connection
kept by name. The file is attached read-only under a fixed name and attached anew once it has been replaced; a question
that is running keeps the file it started on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from serving.errors import ClearwayError
from serving.semantics.catalogue import Catalogue, catalogue_of, read_manifest
from serving.semantics.filters import condition, within
from serving.semantics.query import MetricQuery, QueryError, Resolved, resolve

if TYPE_CHECKING:
    import duckdb
    from metricflow.engine.metricflow_engine import MetricFlowEngine

DATABASE = "warehouse"
REMEMBERED = 512

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


class MetricEngine:
    """Answers metric queries; safe to share between threads.

    Args:
        semantic_manifest: `semantic_manifest.json` of the dbt target folder; read again when it changes.
        warehouse_file: the published DuckDB file; attached again when it is replaced.
        threads: cores that one question may use.
    """

    def __init__(self, semantic_manifest: Path, warehouse_file: Path, *, threads: int = 2) -> None:
        self._manifest_file = semantic_manifest
        self._warehouse_file = warehouse_file
        self._threads = threads
        self._lock = threading.Lock()
        self._semantics: _Semantics | None = None
        self._warehouse: _Warehouse | None = None

    def catalogue(self) -> Catalogue:
        """The metrics that can be asked for now.

        Raises:
            ClearwayError: the semantic manifest cannot be read.
        """
        with self._lock:
            return self._current_semantics().catalogue

    def compile(self, query: MetricQuery) -> str:
        """The SQL of a question, not run.

        Raises:
            QueryError: the question names something unknown, or MetricFlow cannot answer it.
            ClearwayError: the semantic manifest cannot be read.
        """
        with self._lock:
            return self._current_semantics().compile(query)[1]

    def query(self, query: MetricQuery) -> MetricResult:
        """Answer a question from the published warehouse.

        Raises:
            QueryError: the question names something unknown, or MetricFlow cannot answer it.
            ClearwayError: the manifest or the warehouse cannot be read, or they disagree.
        """
        import duckdb

        with self._lock:
            resolved, sql = self._current_semantics().compile(query)
            cursor = self._current_warehouse().cursor()
        try:
            answer = cursor.execute(sql)
            names = [column[0] for column in answer.description or []]
            rows = answer.fetchall()
        except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
            raise QueryError(
                f"a filter value does not fit its dimension: {error}", todo="compare it with a value of its type."
            ) from error
        except duckdb.Error as error:
            raise ClearwayError(
                f"{self._warehouse_file}: the warehouse could not answer: {error}",
                untouched="the warehouse; it is opened read-only.",
                todo="build the warehouse, so that it has what the semantic manifest describes.",
            ) from error
        finally:
            cursor.close()
        places = [names.index(column) for column in resolved.columns.values()]
        return MetricResult(
            columns=tuple(resolved.columns),
            rows=tuple(tuple(_plain(row[place]) for place in places) for row in rows),
            sql=sql,
        )

    def close(self) -> None:
        """Let go of the warehouse file; the next question opens it again."""
        with self._lock:
            if self._warehouse:
                self._warehouse.root.close()
                self._warehouse = None

    def _current_semantics(self) -> _Semantics:
        stamp = _stamp(self._manifest_file)
        if self._semantics is None or stamp is None or self._semantics.stamp != stamp:
            self._semantics = _Semantics(read_manifest(self._manifest_file), stamp)
        return self._semantics

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


class _Semantics:
    """One version of the manifest, with MetricFlow on it and the questions that it has compiled."""

    def __init__(self, manifest: dict[str, Any], stamp: Stamp | None) -> None:
        self.stamp = stamp
        self.catalogue = catalogue_of(manifest)
        self._metricflow = _metricflow(manifest)
        self._compiled: OrderedDict[str, tuple[Resolved, str]] = OrderedDict()

    def compile(self, query: MetricQuery) -> tuple[Resolved, str]:
        key = query.model_dump_json()  # unlike the query itself, tells 1 from true
        if key not in self._compiled:
            resolved = resolve(query, self.catalogue)
            self._compiled[key] = (resolved, self._explain(resolved))
            if len(self._compiled) > REMEMBERED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key]

    def _explain(self, resolved: Resolved) -> str:
        from metricflow.engine.metricflow_engine import MetricFlowQueryRequest
        from metricflow_semantics.errors.error_classes import InvalidQueryException

        query = resolved.query
        conditions = [condition(item, resolved.dimensions[item.dimension]) for item in query.where]
        first = last = None
        if resolved.accumulates:  # what comes before the range is counted too, so the range is no filter of rows
            first = _midnight(query.since)
            last = _midnight(query.until and query.until - timedelta(days=1))  # MetricFlow counts the last day in
        else:  # MetricFlow would widen a constraint to whole periods of the grain
            conditions += within(query.since, query.until)
        request = MetricFlowQueryRequest.create(
            metric_names=list(query.metrics),
            group_by_names=list(resolved.group_by) or None,
            where_constraints=conditions or None,
            time_constraint_start=first,
            time_constraint_end=last,
            order_by_names=list(resolved.order_by) or None,
            limit=query.limit,
        )
        try:
            return self._metricflow.explain(request).sql_statement.sql
        except InvalidQueryException as error:
            raise QueryError(
                f"MetricFlow cannot answer this: {' '.join(str(error).split())[:1000]}",
                todo="ask for these metrics with other dimensions or another grain.",
            ) from error


def _metricflow(manifest: dict[str, Any]) -> MetricFlowEngine:
    """MetricFlow on a manifest whose relations lie in the attached file, whatever the build called its copy."""
    import json

    from metricflow.engine.metricflow_engine import MetricFlowEngine
    from metricflow.protocols.sql_client import SqlClient, SqlEngine
    from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
    from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
    from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

    class Renderer:
        """As much of a SQL client as MetricFlow needs to write SQL and not to run it."""

        sql_engine_type = SqlEngine.DUCKDB
        sql_plan_renderer = DuckDbSqlPlanRenderer()

    for part in (*manifest["semantic_models"], *manifest["project_configuration"]["time_spines"]):
        relation = part["node_relation"]
        relation["database"] = DATABASE
        relation["relation_name"] = f'"{DATABASE}"."{relation["schema_name"]}"."{relation["alias"]}"'
    parsed = parse_manifest_from_dbt_generated_manifest(json.dumps(manifest))
    return MetricFlowEngine(
        semantic_manifest_lookup=SemanticManifestLookup(parsed), sql_client=cast(SqlClient, Renderer())
    )


def _attach(warehouse_file: Path, threads: int) -> duckdb.DuckDBPyConnection:
    """A database of its own with the file attached read-only.

    Opening the file itself would find the replaced one still cached for this path while a question runs on it.
    """
    import duckdb

    root = duckdb.connect(":memory:", config={"threads": threads})
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


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time()) if day else None


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
