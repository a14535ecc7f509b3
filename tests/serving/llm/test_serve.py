"""Workers of vLLM's server end with it, also when it is killed."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from serving.llm import serve

# A server with one worker, as vLLM starts one; found by the name of vLLM's own.
SERVER = """
import multiprocessing, os, sys, time

def work():
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    from vllm.entrypoints.openai import api_server
    multiprocessing.get_context(sys.argv[1]).Process(target=api_server.work).start()
    time.sleep(120)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_a_worker_ends_with_the_server_that_is_killed(tmp_path: Path, method: str) -> None:
    module = tmp_path.joinpath(*serve.MODULE.split(".")).with_suffix(".py")
    module.parent.mkdir(parents=True)
    module.write_text(SERVER)
    # As the launcher starts it, by its path, but with another vLLM to be found.
    server = subprocess.Popen(
        [sys.executable, serve.__file__, method],
        env={"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        worker = psutil.Process(int(server.stdout.readline()))
    finally:
        server.kill()
        server.wait(20)
    worker.wait(60)
    assert not worker.is_running()
