"""A version's server for as long as a block of code runs: to judge or to measure a version that nobody is given yet."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import ClearwayError
from serving.llm import probe
from serving.models.registry import resolve
from serving.runtime.program import clearway_environment, free_port
from serving.settings import PROJECT, Settings

READY_SECONDS = 240.0


@contextmanager
def serving(model: str, version: str, settings: Settings, ready_s: float = READY_SECONDS) -> Iterator[str]:
    """The address of a server of this version that has made its first token; it is gone after the block.

    Raises:
        ClearwayError: it ended or was not ready in time; the end of its log is told.
        RegistryError: there is no such version.
    """
    resolve(model, version, settings)
    port = free_port(taken=[settings.gateway_port, settings.envoy_port, settings.envoy_admin_port])
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{model}-v{version}-judged.log"
    command = [sys.executable, "-m", "serving.llm.launch", "--model", model, "--version", version, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env={**os.environ, **clearway_environment(settings)}, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=_end_with_parent,
        )  # fmt: skip
    url = f"http://{settings.host}:{port}"
    try:
        _wait(process, url, model, version, log, ready_s)
        yield url
    finally:
        if process.poll() is None:
            # The whole group: vLLM's workers outlive their server.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that started it dies, however; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; it stays over exec


def _wait(process: subprocess.Popen[bytes], url: str, model: str, version: str, log: Path, ready_s: float) -> None:
    deadline = time.monotonic() + ready_s
    while (problem := probe.readiness_problem(url, model)) is not None:
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-1500:]
            raise ClearwayError(
                f"the server of {model} version {version} is not ready ({problem}): {tail}",
                untouched="every version that users get.",
                todo=f"read {log}.",
            )
        time.sleep(0.5)
