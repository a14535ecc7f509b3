"""What runs inside the cluster: the readiness of a language model, and the smoke test of a new version."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from serving.rollout.plan import Smoke
from serving.runtime.kubernetes import smoke
from serving.settings import PROJECT

SPEC = {"request": [{"name": "crop", "example": "kale"}, {"name": "row", "example": None}]}


class Server(ThreadingHTTPServer):
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append((self.path, json.loads(body) if body else None))
        status, content = self.server.answers.get(self.path, (404, {}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def ready(server: Server) -> tuple[int, str]:
    command = [sys.executable, "-m", "serving.runtime.kubernetes.ready", "--url", server.url, "--model", "copilot"]
    done = subprocess.run([*command, "--timeout", "5"], cwd=PROJECT, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr.strip()


def test_ready_is_a_token_made(server: Server) -> None:
    server.answers = {"/health": (200, {}), "/v1/completions": (200, {"usage": {"completion_tokens": 1}})}
    assert ready(server) == (0, "")
    path, body = server.asked[-1]
    assert path == "/v1/completions"
    assert (body["model"], body["max_tokens"]) == ("copilot", 1)


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ((500, {}), "answers 500"),
        ((200, {"usage": {"completion_tokens": 0}}), "without a token"),
        ((200, ["hello"]), "no completion"),
    ],
)
def test_health_alone_is_not_ready(server: Server, completion: Any, why: str) -> None:
    server.answers = {"/health": (200, {}), "/v1/completions": completion}
    code, said = ready(server)
    assert code == 1
    assert why in said


def test_nobody_listens(server: Server) -> None:
    server.shutdown()
    server.server_close()
    code, said = ready(server)
    assert code == 1
    assert "no answer" in said


def test_the_probe_imports_nothing_heavy() -> None:
    heavy = "[m for m in ('httpx', 'numpy', 'pydantic') if m in sys.modules]"
    code = f"import sys, serving.runtime.kubernetes.ready; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"


def prediction(version: str) -> dict[str, Any]:
    return {"version": version, "predictions": [{"probability": 0.5}]}


def test_a_smoke_test_sends_the_version_s_own_example(server: Server) -> None:
    server.answers = {"/v1/spec": (200, SPEC), "/predict": (200, prediction("8"))}
    found = smoke.run("tabular", server.url, "wilting", "8", Smoke(requests=3, p95_ms=10_000))
    assert (found["passed"], found["requests"]) == (True, 3)
    assert server.asked[-1] == ("/predict", {"requests": [{"crop": "kale"}]})


@pytest.mark.parametrize(
    ("answer", "why"),
    [((200, prediction("7")), "answered by version 7"), ((503, {}), "HTTP 503"), ((200, {}), "not a prediction")],
)
def test_a_smoke_test_fails_with_the_reason(server: Server, answer: Any, why: str) -> None:
    server.answers = {"/v1/spec": (200, SPEC), "/predict": answer}
    found = smoke.run("tabular", server.url, "wilting", "8", Smoke(requests=3))
    assert not found["passed"]
    assert why in found["reason"]
    assert found["requests"] == 1


def test_a_smoke_test_without_examples_fails(server: Server) -> None:
    found = smoke.run("tabular", server.url, "wilting", "8", Smoke(requests=3))
    assert not found["passed"]
    assert "no examples" in found["reason"]


def test_a_smoke_test_of_a_language_model(server: Server) -> None:
    content = {"model": "copilot", "choices": [{"message": {"content": "Hi."}}], "usage": {"completion_tokens": 2}}
    server.answers = {"/v1/chat/completions": (200, content)}
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    found = smoke.run("llm", server.url, "copilot", "8", Smoke(requests=2, p95_ms=10_000, examples=[asked]))
    assert found["passed"], found
    assert server.asked[-1][1] == {**asked, "model": "copilot", "stream": False}
