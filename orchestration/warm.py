"""Runs start in a process that has imported what steps need, where Dagster would import it again for each.

Dagster's code server spawns a process a run, and the libraries of one run take longer to import than many a step to
work. Here such a process is forked from one that has imported them and does nothing else; the project's own modules are
imported by each run, so that a reloaded code location runs what was written last.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import sys
import warnings
from contextlib import suppress

# What steps import, the dearest first: all of it takes some 20 s of CPU and 600 MB, once.
LIBRARIES = (
    "dagster", "great_expectations", "dbt.cli.main", "evidently", "feast", "dbt_metricflow.cli.main", "mlflow",
    "matplotlib.figure", "pyiceberg.catalog.sql", "pyarrow.parquet", "sklearn.metrics", "lightgbm", "duckdb",
)  # fmt: skip
MODULE = "orchestration.warmed"


def mend() -> None:
    """Have this process, if it is Dagster's code server, fork its runs; a second call changes nothing."""
    if not sys.platform.startswith("linux") or not _is_code_server():
        return
    spawn, forkserver = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
    # The server holds this very context, and asks it for a process for each run.
    if getattr(spawn, "Process", None) is not forkserver.Process:
        spawn.Process = forkserver.Process  # type: ignore[misc,assignment]
        forkserver.set_forkserver_preload([MODULE])


def _is_code_server() -> bool:
    # A run has its parent's arguments.
    return sys.argv[1:3] == ["api", "grpc"] and multiprocessing.parent_process() is None


def import_libraries() -> None:
    """Import what is installed of :data:`LIBRARIES`, and keep it where forked processes share its memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LIBRARIES:
            with suppress(ImportError):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()
