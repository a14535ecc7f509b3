"""Feature marts computed in memory from a window of raw rows, by the very SQL of the dbt project.

What is pushed online and what is built offline so have one definition. A mart's row says when it is known, so rows of a
whole stretch of time may be computed at once and each pushed when its time has come.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from assets.domains import Domain
from assets.warehouse.manifest import Manifest, dbt_command, dbt_environment
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

DATABASE = "warehouse"  # the name that compiled SQL gives to the published file


def compiled(manifest: Manifest, project: Path, wanted: list[str]) -> dict[str, str]:
    """SQL of these models and of all that they are made of, each after what it reads. Takes dbt some seconds.

    Args:
        wanted: names of models.

    Raises:
        ClearwayError: dbt cannot compile them.
    """
    order = _upstream_first(manifest, wanted)
    with tempfile.TemporaryDirectory(prefix="clearway-compile-") as folder:
        target = Path(folder) / "target"
        # Against an empty file every model is a first build: nothing of it depends on what was built before.
        environment = dbt_environment(Path(folder) / f"{DATABASE}.duckdb")
        command = dbt_command("compile", "--quiet", "--select", *order, project=project, target=target)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ClearwayError(
                f"{project}: dbt cannot compile {', '.join(wanted)}:\n{(done.stdout + done.stderr).strip()[-2000:]}",
                untouched="the online window and every training set.",
                todo="mend the named model.",
            )
        nodes = json.loads((target / "manifest.json").read_text())["nodes"].values()
        found = {n["name"]: n["compiled_code"] for n in nodes if n["resource_type"] == "model" and n["name"] in order}
    return {name: found[name] for name in order}


def _upstream_first(manifest: Manifest, wanted: list[str]) -> list[str]:
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for parent in manifest.models[name].models:
            visit(parent)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


class LiveMarts:
    """Marts over raw rows, in a DuckDB of its own.

    Args:
        sql: as :func:`compiled` gives it.
    """

    def __init__(self, domain: Domain, manifest: Manifest, sql: Mapping[str, str]) -> None:
        self._domain, self._manifest, self._sql = domain, manifest, sql

    def compute(self, rows: Mapping[str, pa.Table], wanted: list[str]) -> dict[str, pd.DataFrame]:
        """Each wanted model over these rows of every source.

        Args:
            rows: tables as the lakehouse publishes them, by source.
        """
        import duckdb

        connection = duckdb.connect()
        try:
            self._fill(connection, rows)
            for name, sql in self._sql.items():
                model = self._manifest.models[name]
                kind = "view" if model.materialized == "view" else "table"
                connection.execute(f'create schema if not exists {DATABASE}."{model.schema}"')
                connection.execute(f'create {kind} {DATABASE}."{model.schema}"."{name}" as {sql}')
            schemas = {name: self._manifest.models[name].schema for name in wanted}
            return {
                name: connection.execute(f'select * from {DATABASE}."{schemas[name]}"."{name}"').df() for name in wanted
            }
        finally:
            connection.close()

    def _fill(self, connection: duckdb.DuckDBPyConnection, rows: Mapping[str, pa.Table]) -> None:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach ':memory:' as {DATABASE}")
        connection.execute(f"use {DATABASE}")
        for schema in ("raw", "clearway"):
            connection.execute(f"create schema if not exists {DATABASE}.{schema}")
        for source, table in rows.items():
            connection.register("arriving", table)
            connection.execute(f'create table {DATABASE}.raw."{source}" as select * from arriving')
            connection.unregister("arriving")
        connection.execute(
            f"create table {DATABASE}.clearway.removals (source varchar, period date, known_at timestamptz)"
        )
