"""The bench of releases: its load counts what is lost, its server fails when told, its rows hold what was measured."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from benchmarks import delivery, delivery_llm, faulty_server
from benchmarks.harness import LeftOut
from benchmarks.users import Target, Users
from serving.rollout.state import Rollout
from serving.runtime.program import Program
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings

BODIES = {
    "/whole": b'data: {"choices": []}\n\ndata: [DONE]\n\n',
    "/cut": b'data: {"choices": []}\n\n',
    "/plain": b"{}",
}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/gone":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        content = BODIES.get(self.path, b"{}")
        self.send_response(200 if self.path in BODIES else 503)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_what_is_no_whole_answer_is_lost_and_the_rate_is_kept() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    paths = ("whole", "cut", "plain", "refused", "gone")
    try:
        targets = [Target(path, f"{url}/{path}", [{}], 20, stream=path in ("whole", "cut")) for path in paths]
        with Users("key", targets) as users:
            time.sleep(1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    counts = Counter(reply.target for reply in users.replies)
    assert all(15 <= counts[path] <= 40 for path in paths), counts
    assert {reply.target for reply in users.replies if not reply.lost} == {"whole", "plain"}
    said = {reply.target: reply.status for reply in users.replies}
    assert said == {**said, "whole": "200", "cut": "incomplete", "refused": "503"}
    assert all(reply.lost for reply in users.replies if reply.target == "gone")


def test_a_server_fails_predictions_while_it_is_told_to(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    flag = faulty_server.flag("garden-v3", settings)
    app = FastAPI()
    app.add_api_route("/predict", lambda: "fine", methods=["POST"])
    app.add_api_route("/readyz", lambda: "ready")
    app.add_middleware(faulty_server.Failing, file=flag)

    async def status(method: str, path: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return (await client.request(method, path)).status_code

    assert asyncio.run(status("POST", "/predict")) == 200
    assert faulty_server.failed("garden-v3", settings) == []
    flag.parent.mkdir()
    flag.touch()
    began = time.time()
    assert asyncio.run(status("POST", "/predict")) == 500
    assert asyncio.run(status("GET", "/readyz")) == 200
    (at,) = faulty_server.failed("garden-v3", settings)
    assert began <= at <= time.time()
    flag.unlink()
    assert asyncio.run(status("POST", "/predict")) == 200


def test_one_arm_may_fail_and_the_others_are_the_usual_ones(tmp_path: Path) -> None:
    added: list[Program] = []

    class Noted(Supervisor):
        def add_program(self, program: Program) -> None:
            added.append(program)

    arms = faulty_server.OneFaultyArm(Noted(Settings(home=tmp_path)), "garden-v3")
    for version in ("2", "3"):
        arms.ensure(f"garden-v{version}", "garden", version, 20000)
    usual, faulty = added
    assert "serving.models.server" in usual.command
    assert "benchmarks.faulty_server" in faulty.command
    assert usual.command[3:] == tuple(part.replace("v3", "v2") if part != "3" else "2" for part in faulty.command[4:])


def test_the_steps_of_a_canary_are_told_from_its_log() -> None:
    steps = [{"weight": 20}, {"weight": 50}, {"weight": 100}]
    rollout = Rollout("r", "garden", "2", "completed", {"steps": steps})

    def entry(kind: str, second: int, **more: Any) -> None:
        rollout.entries.append({"type": kind, "at": f"2024-06-01T00:00:{second:02}+00:00", **more})

    entry("submitted", 1, submitted_at="2024-06-01T00:00:00+00:00")
    for second, kind in ((2, "starting"), (12, "ready"), (13, "smoked")):
        entry(kind, second)
    entry("stepped", 14, step=0)
    entry("baselined", 15)
    entry("stepped", 20, step=1)
    entry("switched", 40, step=2)
    entry("aliased", 41)
    entry("completed", 42)
    assert delivery_llm._seconds(rollout) == {
        "submitted to starting": 2,
        "starting to ready": 10,
        "ready to smoked": 1,
        "smoked to at 20%": 1,
        "at 20%": 6,
        "at 50%": 20,
        "switched to completed": 2,
        "in all": 42,
    }


FOUND: dict[str, Any] = {
    "router:stations": [
        {f"{s}_{p}": n for n, s in enumerate(("server", "envoy", "gateway"), 1) for p in ("p50", "p99")}
    ],
    "router:change_weights": {
        "applied_ms": [40.0],
        "instead": 0,
        "why": {"prediction: 502": 2},
        **{
            kind: [
                {"sent": 9, "lost": lost, **{f"{t}_{p}": 1 for t in ("prediction", "stream") for p in ("p50", "p99")}}
            ]
            for kind, lost in (("still", 0), ("changing", 2))
        },
    },
    "canaries:alike": [
        {"promoted": 1, "in_all": 90, "gated": 80, "requests": 800, "lost": 0},
        {"promoted": 0, "lost": 0},
    ],
    "canaries:failing": [
        {"decided": 1, "after": after, "in_all": 2, "failed": 6, "seen": 0, "early": 0} for after in (0.0, 0.1, 2.5)
    ],
}


class Calls:
    """A world whose children return what is given."""

    quick = True

    def __init__(self) -> None:
        self.said: list[str] = []

    def released(self) -> None: ...
    def quiet(self, home: None) -> None: ...

    def repeats(self, full: int, quick: int = 1) -> int:
        return quick

    def say(self, text: str) -> None:
        self.said.append(text)

    def call(self, home: None, function: str, **arguments: Any) -> Any:
        return type("Child", (), {"result": FOUND[function.removeprefix("benchmarks.delivery_")]})


def test_without_vllm_only_its_rows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise LeftOut("vLLM is not installed", todo="make llm")

    monkeypatch.setattr(delivery, "refuse_unless_installed", absent)
    world = Calls()
    rows = {row.name: row for row in delivery.measure(world)}  # type: ignore[arg-type]
    assert "the rows of vLLM are left out: vLLM is not installed" in world.said[-1]
    assert "in the place of answers: {'prediction: 502': 2}" in world.said
    assert not any("vLLM" in name for name in rows)
    assert rows["Envoy adds, p50"].value == rows["the gateway adds, p50"].value == 1
    missed = {name for name, row in rows.items() if row.holds is False}
    assert missed == {
        "10 changes of weights, requests lost",
        "A/A rollouts that were not promoted, of 2",
        "all fails at 10%, the same, slowest",
    }
    assert rows["A/A rollout, from submission to completion"].values == (90,)
