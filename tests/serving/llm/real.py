"""The real vLLM for tests: whether it is there, and a server of one version, launched as an arm is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving.llm import paths, probe
from serving.models.registry import resolve
from serving.runtime.program import clearway_environment, free_port
from serving.settings import PROJECT, Settings
from tests.serving.llm import fake

BASE = PROJECT / ".clearway" / "llm" / "models" / paths.declared()["model"]["name"]
MARKS = [
    pytest.mark.integration,
    pytest.mark.skipif(not paths.interpreter().exists(), reason="vLLM is not installed: make llm"),
    pytest.mark.skipif(not (BASE / "model.safetensors").exists(), reason="the model is not prepared: make llm"),
]
READY_SECONDS = 240


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    url: str


def running_requests(url: str) -> int:
    """Requests that a server answers or has in its queue, as its own metrics say; httpx's error when it does not."""
    text = httpx.get(f"{url}/metrics", timeout=30).text
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return round(sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(names)))


@contextmanager
def launched(settings: Settings, version: str) -> Iterator[Server]:
    """A registered version of ``fake.MODEL``, ready to answer."""
    resolve(fake.MODEL, version, settings)
    port = free_port(taken=[settings.gateway_port, settings.envoy_port, settings.envoy_admin_port])
    command = [sys.executable, "-m", "serving.llm.launch", "--model", fake.MODEL, "--version", version]
    log = Path(settings.home) / f"vllm-{version}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=PROJECT, env={**os.environ, **clearway_environment(settings)},
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    url = f"http://{settings.host}:{port}"
    try:
        deadline = time.monotonic() + READY_SECONDS
        while (problem := probe.readiness_problem(url, fake.MODEL)) is not None:
            tail = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, tail
            assert time.monotonic() < deadline, f"{problem}\n{tail}"
            time.sleep(0.5)
        yield Server(process, port, url)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
