"""How long the definitions take to load, with the dbt project parsed before: by ``dg check defs`` and by import."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness import World
from benchmarks.report import Row

AIM_S = 3.0
EMPTY = """[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "empty_project"
code_location_target_module = "empty_project.definitions"
"""


def measure(world: World) -> list[Row]:
    world.quiet()
    home = world.home()
    world.call(home, "benchmarks.stages:parse")
    empty = _empty_project(world.root / "empty")
    dg = (str(Path(sys.executable).with_name("dg")), "check", "defs")
    seconds: dict[str, list[float]] = {}
    for number in range(world.repeats(7, 2) + 1):
        for name, done in (
            ("check", world.run(home, *dg)),
            ("check_empty", world.run(home, *dg, cwd=empty, environment={"PYTHONPATH": str(empty)})),
            ("import", world.run(home, sys.executable, "-c", "import orchestration.definitions")),
            ("import_dagster", world.run(home, sys.executable, "-c", "import dagster")),
        ):
            if number:  # the first round fills the caches of files and of byte code
                seconds.setdefault(name, []).append(done.seconds)
    check, check_empty, plain, dagster = (tuple(v) for v in seconds.values())
    return [
        Row("dg check defs", "s", check, aim=AIM_S),
        Row("dg check defs beside nothing to check", "s", check, "dg check defs of an empty project", check_empty),
        Row("import orchestration.definitions", "s", plain, "import dagster", dagster),
    ]


def _empty_project(folder: Path) -> Path:
    package = folder / "empty_project"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(EMPTY)
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    return folder
