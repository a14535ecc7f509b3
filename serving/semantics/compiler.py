"""MetricFlow as a compiler: a checked question in, SQL out. Nothing is run, so no adapter and no profile is needed."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, cast

from serving.semantics.catalogue import catalogue_of
from serving.semantics.filters import condition, within
from serving.semantics.query import MetricQuery, QueryError, Resolved, resolve

if TYPE_CHECKING:
    from metricflow.engine.metricflow_engine import MetricFlowEngine

DATABASE = "warehouse"
REMEMBERED = 512


class Compiler:
    """One version of the manifest, with MetricFlow on it and the questions that it has compiled."""

    def __init__(self, manifest: dict[str, Any]) -> None:
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


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time()) if day else None
