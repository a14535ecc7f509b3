"""Builds and tests a copy of the warehouse, then publishes it by one ``os.replace``.

The ledger of what was built from what lies in the file itself, so it is never apart from the data.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from assets.ingestion.events import DOCUMENTS, INSTANTS, NUMBERS, TEXTS
from assets.warehouse.ledger import NodeResult, has_ledger, reading
from assets.warehouse.manifest import Manifest, dbt_command, dbt_environment
from serving.errors import ClearwayError
from serving.faults import boundary

if TYPE_CHECKING:
    pass


class BuildFailed(ClearwayError):
    """A model or a test failed; the published warehouse is as it was."""

    def __init__(self, what: str, results: dict[str, NodeResult]) -> None:
        self.results = results
        super().__init__(
            what,
            untouched="the published warehouse; readers see what they saw before.",
            todo="mend the model, the test or the data that it names, then run these partitions again.",
        )


@dataclass(frozen=True)
class Build:
    """One build: which models, over which months, from which files.

    Attributes:
        select: names of the models.
        periods: first days of the months, in order; consecutive.
        until: first day after the last month.
        files: for each source, the data files of its published snapshot.
        keys: for each month, the publish key of what the models read.
        snapshots: for each month, the Iceberg snapshot that published it, by source.
        removals: (source, month, instant) of the newest re-drop that removed rows from a month.
        events: the data files of the published prediction events; None for a build that does not read them.
    """

    select: tuple[str, ...]
    periods: tuple[date, ...]
    until: date
    files: dict[str, list[str]]
    keys: dict[date, str] = field(default_factory=dict)
    snapshots: dict[date, dict[str, str]] = field(default_factory=dict)
    removals: tuple[tuple[str, date, str], ...] = ()
    events: tuple[str, ...] | None = None


def stale(warehouse_file: Path, build: Build) -> list[date]:
    """The months for which some selected model was not yet built from what its key says."""
    if not warehouse_file.exists():
        return list(build.periods)
    with reading(warehouse_file) as connection:
        if not has_ledger(connection):
            return list(build.periods)
        done = set(connection.execute("select model, period, key from clearway.builds").fetchall())
    return [p for p in build.periods if any((m, p, build.keys[p]) not in done for m in build.select)]


def publish(
    build: Build, manifest: Manifest, project: Path, folder: Path, run_id: str, log: Callable[[str], None]
) -> dict[str, NodeResult]:
    """Build the models on a copy, test it, and put it in the published file's place.

    Args:
        folder: where the published file and the copies lie.
        log: is given dbt's lines as they come.

    Returns:
        dbt's results by unique id.

    Raises:
        BuildFailed: a model or a test failed.
        ClearwayError: the disk is full or the folder cannot be written.
    """
    import duckdb

    published = folder / "warehouse.duckdb"
    # The copy bears the published name, because DuckDB writes the name of the file into every view.
    copy = folder / "build" / published.name
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(folder) as lock:
            _remove(copy)  # of a run that was killed; the lock says that none is alive
            try:
                if published.exists():
                    shutil.copyfile(published, copy)
                _prepare(copy, build)
                boundary("warehouse.copied")
                results = _run_dbt(build, manifest, project, copy, folder, lock, log)
                _record(copy, build, results, run_id)
                _say_what_it_means(copy, manifest)
                boundary("warehouse.tested")
                _fsync(copy)
                os.replace(copy, published)
            finally:
                _remove(copy)
            boundary("warehouse.published")
            return results
    except (OSError, duckdb.IOException, duckdb.FatalException) as error:
        raise ClearwayError(
            f"{folder}: the warehouse cannot be written: {error}",
            untouched="the published warehouse; readers see what they saw before.",
            todo="free disk space or give write permission, then run these partitions again.",
        ) from error


@contextmanager
def _only_writer(folder: Path) -> Iterator[int]:
    """One build at a time, whoever started it: two copies published in turn would lose the first.

    dbt inherits the lock by its file descriptor, so that a dbt whose parent was killed is waited for.
    """
    with (folder / "writer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _remove(copy: Path) -> None:
    for left in (copy, copy.with_name(f"{copy.name}.wal")):
        left.unlink(missing_ok=True)


def _prepare(copy: Path, build: Build) -> None:
    """Views of the published snapshots, what was removed from them when, and the ledger's tables.

    The files of a snapshot are plain parquet, since a replaced partition leaves no delete files: reading them
    directly needs no DuckDB extension.
    """
    import duckdb

    with duckdb.connect(str(copy)) as connection:
        connection.execute("create schema if not exists raw")
        for source, paths in build.files.items():
            connection.execute(f'create or replace view raw."{source}" as {_rows_of(paths)}')
        connection.execute("create schema if not exists clearway")
        if build.events is None:
            connection.execute(
                "create or replace table clearway.removals (source varchar, period date, known_at timestamptz)"
            )
            if build.removals:
                connection.executemany("insert into clearway.removals values (?, ?, ?)", build.removals)
        else:
            connection.execute("create schema if not exists events")
            connection.execute(f"create or replace view events.predictions as {_events(build.events)}")
        connection.execute(
            "create table if not exists clearway.builds"
            " (model varchar, period date, key varchar, run_id varchar, built_at timestamptz, snapshots varchar,"
            " primary key (model, period))"
        )
        connection.execute(
            "create table if not exists clearway.results"
            " (unique_id varchar primary key, status varchar, seconds double, failures bigint, message varchar)"
        )


def _rows_of(paths: Sequence[str]) -> str:
    listed = ", ".join("'" + p.removeprefix("file://").replace("'", "''") + "'" for p in paths)
    return f"select * from read_parquet([{listed}], union_by_name = true)"


def _events(paths: Sequence[str]) -> str:
    """All published events with all columns, those included that no file has yet."""
    kinds = {"varchar": (*TEXTS, *DOCUMENTS), "double": NUMBERS, "timestamptz": INSTANTS}
    none = ", ".join(f"null::{kind} as {name}" for kind, names in kinds.items() for name in names)
    empty = f"select {none} where false"
    return f"{empty} union all by name {_rows_of(paths)}" if paths else empty


def _run_dbt(
    build: Build, manifest: Manifest, project: Path, copy: Path, folder: Path, lock: int, log: Callable[[str], None]
) -> dict[str, NodeResult]:
    target = folder / "dbt"
    target.mkdir(exist_ok=True)
    (target / "run_results.json").unlink(missing_ok=True)
    variables = json.dumps({"from_date": build.periods[0].isoformat(), "to_date": build.until.isoformat()})
    select = ["--select", *sorted(build.select)]
    command = dbt_command(
        "build",
        "--no-partial-parse",  # with it dbt 1.12 reads a ratio metric twice after its model changed, and refuses both
        "--vars",
        variables,
        *select,
        "--log-format",
        "json",
        "--log-level",
        "info",
        project=project,
        target=target,
    )
    tail: list[str] = []
    with subprocess.Popen(
        command,
        env=dbt_environment(copy),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=(lock,),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = _message(line)
            if text:
                log(text)
                tail = [*tail[-60:], text]
    results = _results(target / "run_results.json")
    failed = [r for r in results.values() if not r.ok and r.status != "skipped"]
    if process.returncode or failed:
        why = "\n".join(
            f"- {r.unique_id}: {r.status}: {r.message or ''} ({r.failures or 0} failing rows)" for r in failed
        )
        span = f"{build.periods[0]} to {build.periods[-1]}"
        raise BuildFailed(f"dbt build failed for {span}:\n{why or chr(10).join(tail[-20:])}", results)
    return results


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["info"]["msg"]).strip()
    except (ValueError, KeyError, TypeError):
        return line.strip()


def _results(path: Path) -> dict[str, NodeResult]:
    if not path.exists():
        return {}
    return {
        r["unique_id"]: NodeResult(
            r["unique_id"], str(r["status"]), r["execution_time"], r.get("failures"), r.get("message")
        )
        for r in json.loads(path.read_text())["results"]
    }


def _record(copy: Path, build: Build, results: dict[str, NodeResult], run_id: str) -> None:
    import duckdb

    now = datetime.now(UTC)
    with duckdb.connect(str(copy)) as connection:
        connection.executemany(
            "insert or replace into clearway.builds values (?, ?, ?, ?, ?, ?)",
            [
                (m, p, build.keys[p], run_id, now, json.dumps(build.snapshots.get(p, {}), sort_keys=True))
                for m in build.select
                for p in build.periods
            ],
        )
        connection.executemany(
            "insert or replace into clearway.results values (?, ?, ?, ?, ?)",
            [(r.unique_id, r.status, r.seconds, r.failures, r.message) for r in results.values()],
        )
        connection.execute("checkpoint")


def _say_what_it_means(copy: Path, manifest: Manifest) -> None:
    """Put the semantic manifest into the file, so that who reads the tables reads the metrics that belong to them."""
    import duckdb

    file = manifest.folder / "semantic_manifest.json"
    if file.exists():
        with duckdb.connect(str(copy)) as connection:
            connection.execute("create or replace table clearway.semantics as select ?::varchar as manifest",
                               [file.read_text()])  # fmt: skip
            connection.execute("checkpoint")


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
