"""What the dbt project says exists, read from its manifest, which is parsed again only when a file changed.

dagster-dbt would make the same assets, at the price of importing dbt in every process that loads the definitions;
here loading reads one JSON file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError

PREDICTIONS = "predictions"
SKIPPED = {"target", "logs", "dbt_packages", "__pycache__"}


@dataclass(frozen=True)
class Model:
    """A dbt model: a table or view of the warehouse."""

    name: str
    unique_id: str
    schema: str
    layer: str
    description: str
    materialized: str
    columns: dict[str, dict[str, Any]]
    tags: tuple[str, ...]
    owners: tuple[str, ...]
    sources: tuple[str, ...]
    models: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class Test:
    """A dbt data test, attached to one model."""

    name: str
    unique_id: str
    model: str
    severity: str
    description: str


@dataclass(frozen=True)
class Manifest:
    """The project's models and tests, in no particular order, and the fingerprint of its files.

    ``models`` are built by the domain's periods; ``served``, those tagged ``predictions``, of what was served.
    """

    folder: Path
    fingerprint: str
    models: dict[str, Model]
    tests: dict[str, Test]
    served: dict[str, Model]
    served_tests: dict[str, Test]


def project_fingerprint(project: Path) -> str:
    """Hash of every file of a dbt project that dbt reads (hex, 16 characters)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in project.rglob("*") if p.is_file()):
        relative = path.relative_to(project)
        if not SKIPPED.intersection(relative.parts) and path.suffix not in (".duckdb", ".wal", ".log", ".py", ".pyc"):
            digest.update(str(relative).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def dbt_environment(build: Path | None = None) -> dict[str, str]:
    """Environment of a dbt process: no telemetry, and the warehouse file that it builds."""
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
    if build is not None:
        environment["CLEARWAY_WAREHOUSE_BUILD"] = str(build)
    return environment


def dbt_command(*arguments: str, project: Path, target: Path) -> list[str]:
    """Command line of a dbt process in this interpreter's environment."""
    where = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target)]
    return [str(Path(sys.executable).with_name("dbt")), *arguments, *where, "--log-path", str(target / "logs")]


def load_manifest(project: Path, target: Path) -> Manifest:
    """The project's manifest, parsed first when it is absent or older than the project's files.

    Args:
        project: folder of the dbt project.
        target: folder below which the parsed files lie; one folder a project.

    Raises:
        ClearwayError: dbt cannot parse the project.
    """
    fingerprint = project_fingerprint(project)
    folder = target / fingerprint
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (target / "parse.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "complete").exists():
                _parse(project, folder)
    return _read(folder, fingerprint)


@lru_cache(maxsize=4)
def _read(folder: Path, fingerprint: str) -> Manifest:
    content = json.loads((folder / "manifest.json").read_text())
    models = {n["name"]: _model(n) for n in content["nodes"].values() if n["resource_type"] == "model"}
    tests = {}
    for node in content["nodes"].values():
        attached = node.get("attached_node")
        if node["resource_type"] == "test" and attached in content["nodes"]:
            name = _test_name(node)
            tests[name] = Test(
                name,
                node["unique_id"],
                content["nodes"][attached]["name"],
                node["config"]["severity"].lower(),
                node.get("description") or _test_description(node),
            )
    served = {name: model for name, model in models.items() if PREDICTIONS in model.tags}
    return Manifest(
        folder,
        fingerprint,
        {name: model for name, model in models.items() if name not in served},
        {name: test for name, test in tests.items() if test.model not in served},
        served,
        {name: test for name, test in tests.items() if test.model in served},
    )


def _parse(project: Path, folder: Path) -> None:
    done = subprocess.run(
        dbt_command("parse", "--no-partial-parse", "--quiet", project=project, target=folder),
        env=dbt_environment(folder / "parse.duckdb"),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ClearwayError(
            f"{project}: dbt cannot parse the project:\n{(done.stdout + done.stderr).strip()[-3000:]}",
            untouched="the published warehouse.",
            todo="mend the named file.",
        )
    (folder / "complete").touch()


def _model(node: dict[str, Any]) -> Model:
    depends = node["depends_on"]["nodes"]
    owners = node["config"].get("meta", {}).get("owner") or node.get("meta", {}).get("owner")
    return Model(
        name=node["name"],
        unique_id=node["unique_id"],
        schema=node["schema"],
        layer=node["path"].split("/")[0],
        description=node["description"].strip(),
        materialized=node["config"]["materialized"],
        columns=node["columns"],
        tags=tuple(node["tags"]),
        owners=(owners,) if isinstance(owners, str) else tuple(owners or ()),
        sources=tuple(d.split(".")[-1] for d in depends if d.startswith("source.") and d.split(".")[-2] == "raw"),
        models=tuple(d.split(".")[-1] for d in depends if d.startswith("model.")),
        path=node["original_file_path"],
    )


def _test_name(node: dict[str, Any]) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in node["name"])


def _test_description(node: dict[str, Any]) -> str:
    kind = node.get("test_metadata", {}).get("name", "singular test").replace("_", " ")
    column = node.get("column_name")
    return f"dbt {kind}{f' of {column}' if column else ''}"
