"""A small OpenAI-compatible server with faults that a test chooses, and the chain in front of it: Envoy and gateway."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from serving.gateway.app import create_app
from serving.llm.spec import LLM_FILE, LLMSpec
from serving.models.registry import cache_folder
from serving.rollout.log import RolloutLog
from serving.rollout.plan import ReleasePlan
from serving.routing.envoy import EnvoyRouter
from serving.runtime.program import free_port
from serving.settings import Settings

MODEL = "gardener"
WORDS = ["Water", " the", " beans", " twice", "."]


class FakeLLM:
    """Answers ``words``, one a token. ``fault`` says what goes wrong, ``release`` lets a hanging answer go on.

    Faults: ``status_500``, ``silent`` (not even headers), ``die_before`` and ``hang_before`` (headers, no event),
    ``die_mid`` and ``hang_mid`` (after two tokens), ``error_first`` and ``error_mid`` (an error event), ``garbage``,
    ``slow`` (0.3 s before the first token), ``reset`` (the connection is dropped unanswered), ``refuse`` (status 400).
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self.words = list(WORDS)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.abandoned = threading.Event()
        self.release = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                try:
                    fake.answer(self)
                except OSError:  # who asked went away
                    fake.abandoned.set()

            def do_GET(self) -> None:
                fake.whole(self, 200 if self.path == "/health" else 404, b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def whole(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def usage(self) -> dict[str, int]:
        return {"prompt_tokens": 7, "completion_tokens": len(self.words), "total_tokens": 7 + len(self.words)}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        self.asked.append(body)
        self.headers.append({key.lower(): value for key, value in handler.headers.items()})
        if self.fault == "silent":
            self.release.wait(30)
        if self.fault == "reset":
            handler.close_connection = True
            return
        if self.fault == "status_500":
            self.whole(handler, 500, json.dumps({"error": {"message": "out of memory", "code": 500}}).encode())
        elif body.get("temperature") == -1 or self.fault == "refuse":
            error = {"message": "temperature must be non-negative", "type": "BadRequestError", "code": 400}
            self.whole(handler, 400, json.dumps({"error": error}).encode())
        elif body.get("stream"):
            self.stream(handler, body)
        else:
            text = "".join(self.words)
            chat = handler.path.endswith("/chat/completions")
            said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            choices = [{"index": 0, "finish_reason": "stop", **said}]
            content = {"id": "x", "model": body["model"], "choices": choices, "usage": self.usage()}
            self.whole(handler, 200, json.dumps(content).encode())

    def stream(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()

        def raw(data: bytes) -> None:
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()

        def event(content: Any) -> None:
            raw(b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n")

        def delta(**content: Any) -> dict[str, Any]:
            finish = content.pop("finish_reason", None)
            return {"id": "x", "choices": [{"index": 0, "delta": content, "finish_reason": finish}]}

        def die() -> None:
            handler.close_connection = True
            handler.connection.shutdown(2)

        failure = {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}
        try:
            if self.fault == "die_before":
                return die()
            if self.fault == "hang_before":
                self.release.wait(30)
            if self.fault == "error_first":
                return event(failure)
            if self.fault == "slow":
                time.sleep(0.3)
            event(delta(role="assistant", content=""))
            for number, word in enumerate(self.words):
                if number == 2:
                    if self.fault == "die_mid":
                        return die()
                    if self.fault == "hang_mid":
                        self.release.wait(30)
                    if self.fault == "error_mid":
                        return event(failure)
                    if self.fault == "garbage":
                        return event(b"{")
                event(delta(content=word))
            event(delta(finish_reason="stop"))
            if "include_usage" in (body.get("stream_options") or ()):
                event({"id": "x", "choices": [], "usage": self.usage()})
            event(b"[DONE]")
            raw(b"")
        except OSError:
            self.abandoned.set()


def spec(**changes: Any) -> LLMSpec:
    declared = {
        "model": MODEL,
        "base": "owner/name",
        "first_token_s": 1.0,
        # Envoy holds a broken connection for a second before it closes it.
        "between_tokens_s": 2.5,
        "answer_s": 1.5,
        "price_prompt": 1.0,
        "price_completion": 10.0,
    }
    return LLMSpec.model_validate({**declared, **changes})


def home(folder: Path) -> Settings:
    ports: list[int] = []
    for _ in range(3):
        ports.append(free_port(taken=ports))
    return Settings(home=folder, gateway_port=ports[0], envoy_port=ports[1], envoy_admin_port=ports[2])


def write_version(settings: Settings, version: str, declared: LLMSpec) -> None:
    folder = cache_folder(MODEL, version, settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LLM_FILE).write_text(declared.model_dump_json())


def arm(version: str) -> str:
    return f"{MODEL}-v{version}"


def log_release(settings: Settings, version: str, port: int, *, weights: dict[str, int], done: bool) -> None:
    """What the controller logs of a release that completed, or of a canary that is under way."""
    ident, log = f"r{version}", RolloutLog(MODEL, settings)
    plan = ReleasePlan(model=MODEL, version=version, strategy="blue_green" if done else "canary")
    log.append("submitted", ident, plan=plan.model_dump(mode="json"), submitted_at="2024-01-01T00:00:00+00:00")
    log.append("starting", ident, arm=arm(version), port=port)
    log.append("ready", ident)
    log.append("smoked", ident, evidence={"passed": True})
    if not done:
        log.append("stepped", ident, weights=weights, step=0)
        return
    log.append("switched", ident, weights=weights)
    log.append("aliased", ident, alias="champion", version=version, was=None)
    log.append("completed", ident, record={})


@contextmanager
def envoy(settings: Settings) -> Iterator[EnvoyRouter]:
    router = EnvoyRouter(settings)
    router.prepare()
    process = subprocess.Popen(router.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield router
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def gateway(settings: Settings) -> Iterator[None]:
    config = uvicorn.Config(
        create_app(settings), host=settings.host, port=settings.gateway_port, log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until("the gateway listens", lambda: httpx.get(f"{settings.gateway_url}/healthz").status_code == 200)
        yield
    finally:
        server.should_exit = True
        thread.join(20)


def until(what: str, check: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)
