"""The semantic manifest that was published with a warehouse: in its file, so that the two are always of one build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError

if TYPE_CHECKING:
    import duckdb


def published_manifest(warehouse_file: Path) -> dict[str, Any]:
    """The manifest of a published file.

    Raises:
        ClearwayError: there is no file, or it has no manifest.
    """
    import duckdb

    if not warehouse_file.exists():
        raise ClearwayError(f"{warehouse_file}: there is no published warehouse", todo="build it first.")
    connection = duckdb.connect(":memory:")
    try:
        path = str(warehouse_file).replace("'", "''")
        connection.execute(f"attach '{path}' as published (read_only)")
        return read_from(connection, "published", warehouse_file)
    except duckdb.Error as error:
        raise ClearwayError(f"{warehouse_file}: cannot be opened: {error}", todo="build it once more.") from error
    finally:
        connection.close()


def read_from(connection: duckdb.DuckDBPyConnection, database: str, file: Path) -> dict[str, Any]:
    """The manifest of a file that is attached under a name.

    Raises:
        ClearwayError: it has none; the file was built before there was one.
    """
    import duckdb

    try:
        (text,) = connection.execute(f"select manifest from {database}.clearway.semantics").fetchone() or ("",)
        manifest: dict[str, Any] = json.loads(text)
    except (duckdb.Error, ValueError) as error:
        raise ClearwayError(
            f"{file}: the warehouse says nothing of its metrics: {error}",
            untouched="everything; nothing was asked.",
            todo="build the warehouse once more.",
        ) from error
    return manifest
