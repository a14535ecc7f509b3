"""Runs that are forked from a process that has imported their libraries, as Dagster's code server starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration import warm
from serving.settings import PROJECT

SERVER = """
import json, multiprocessing, os, sys
from orchestration import warm

def run(queue, begun):
    queue.put([os.getppid(), *(name in sys.modules for name in ("great_expectations", "assets.domains"))])
    begun.wait(30)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")  # the server has it before it loads the code
    warm.mend()
    warm.mend()
    found, servers = [], []
    for _ in range(2):
        queue, begun = context.Queue(), context.Event()
        process = context.Process(target=run, args=[queue, begun])
        process.start()
        found.append(queue.get(timeout=120))
        assert process.is_alive()
        begun.set()
        process.join(30)
        servers.append(process.exitcode)
    print(json.dumps({"found": found, "exits": servers, "me": os.getpid()}))
"""


def serve(folder: Path, *arguments: str) -> dict[str, Any]:
    script = folder / "server.py"
    script.write_text(SERVER)
    done = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.integration
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")
def test_a_run_of_the_code_server_has_its_libraries_and_not_the_projects_code(tmp_path: Path) -> None:
    told = serve(tmp_path, "api", "grpc")
    assert told["exits"] == [0, 0]
    first, second = told["found"]
    assert first == second, "both were forked from one process"
    parent, library, code = first
    assert parent != told["me"]
    assert library
    assert not code


@pytest.mark.integration
def test_other_processes_are_left_as_they_are(tmp_path: Path) -> None:
    told = serve(tmp_path, "run")
    assert told["found"] == [[told["me"], False, False]] * 2


def test_every_library_is_one_that_is_installed() -> None:
    from importlib.util import find_spec

    assert [name for name in warm.LIBRARIES if find_spec(name) is None] == []
