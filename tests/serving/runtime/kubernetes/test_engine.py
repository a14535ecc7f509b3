"""The engine moves a Rollout through its pauses: by the weight that is said, once, however often it is said."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving.rollout.log import RolloutLog
from serving.runtime.kubernetes import __main__ as command
from serving.runtime.kubernetes.__main__ import main, render
from serving.runtime.kubernetes.engine import Cluster, ClusterError, change, position
from serving.settings import get_settings
from tests.serving.runtime.kubernetes.test_render import deployed, one, plan

PATH = "/apis/argoproj.io/v1alpha1/namespaces/clearway/rollouts/wilting-leaf"
WORKLOAD = "/apis/apps/v1/namespaces/clearway/deployments/wilting-leaf"


class Argo(ThreadingHTTPServer):
    """An API server with one Rollout, and what Argo's controller does to it after a change of its status."""

    def __init__(self, rollout: dict[str, Any]) -> None:
        self.rollout = copy.deepcopy(rollout)
        self.rollout["metadata"]["resourceVersion"] = "1"
        self.rollout["status"] = {"currentStepIndex": 0, "workloadObservedGeneration": "3"}
        self.generation = 3
        self.changes = 0
        self.overtaken = 0
        self._walk()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def _walk(self) -> None:
        steps, status = self.rollout["spec"]["strategy"]["canary"]["steps"], self.rollout["status"]
        while status["currentStepIndex"] < len(steps) and "pause" not in steps[status["currentStepIndex"]]:
            status["currentStepIndex"] += 1
        if status["currentStepIndex"] < len(steps):
            status["pauseConditions"] = [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]

    def patch(self, patch: dict[str, Any]) -> int:
        if self.overtaken or patch["metadata"]["resourceVersion"] != self.rollout["metadata"]["resourceVersion"]:
            self.overtaken -= 1
            return 409
        self.changes += 1
        self.rollout["metadata"]["resourceVersion"] = str(self.changes + 1)
        status = self.rollout["status"]
        if patch["status"].get("abort"):
            status["abort"] = True
        elif "pauseConditions" in patch["status"]:
            del status["pauseConditions"]
            status["currentStepIndex"] += 1
            self._walk()
        return 200


class Handler(BaseHTTPRequestHandler):
    server: Argo

    def do_GET(self) -> None:
        if self.path == WORKLOAD:
            self._answer(200, {"metadata": {"generation": self.server.generation}})
        else:
            self._answer(200 if self.path == PATH else 404)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["content-length"])))
        right = self.headers["content-type"] == "application/merge-patch+json" and self.path == f"{PATH}/status"
        self._answer(self.server.patch(patch) if right else 415)

    def _answer(self, status: int, content: Any = None) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content or self.server.rollout).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def argo() -> Iterator[Argo]:
    rendered = render(plan(steps=[5, 25, 50, 100]), deployed(), "argo", engine=True)
    found = Argo(one(rendered, "Rollout"))
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def test_from_step_to_step_to_the_end(argo: Argo) -> None:
    cluster = Cluster(argo.url)
    assert position(argo.rollout).weight == 5
    cluster.set_weight("clearway", "wilting-leaf", 25)
    assert position(argo.rollout).weight == 25
    for _ in range(3):
        assert cluster.set_weight("clearway", "wilting-leaf", 25).weight == 25
    assert argo.changes == 1
    for _ in range(4):
        cluster.set_weight("clearway", "wilting-leaf", 100)
    assert position(argo.rollout).weight == 100
    assert argo.changes == 3


def test_a_change_that_somebody_else_was_faster_with_is_none(argo: Argo) -> None:
    argo.overtaken = 1
    cluster = Cluster(argo.url)
    assert cluster.set_weight("clearway", "wilting-leaf", 25).weight == 5
    assert position(argo.rollout).weight == 5
    cluster.set_weight("clearway", "wilting-leaf", 25)
    assert position(argo.rollout).weight == 25


def test_zero_aborts_and_nothing_moves_afterwards(argo: Argo) -> None:
    cluster = Cluster(argo.url)
    for _ in range(2):
        cluster.set_weight("clearway", "wilting-leaf", 0)
    assert argo.rollout["status"]["abort"] is True
    assert argo.changes == 1
    assert position(argo.rollout).weight == 0
    with pytest.raises(ClusterError, match="was aborted"):
        cluster.set_weight("clearway", "wilting-leaf", 25)


def test_where_the_last_release_ended_is_not_taken_for_this_one_s_end(argo: Argo) -> None:
    cluster = Cluster(argo.url)
    for _ in range(4):
        cluster.set_weight("clearway", "wilting-leaf", 100)
    argo.generation = 4
    assert cluster.set_weight("clearway", "wilting-leaf", 100).weight == 0
    assert cluster.set_weight("clearway", "wilting-leaf", 5).weight == 0


def test_it_is_not_moved_while_it_is_on_its_way(argo: Argo) -> None:
    moving = copy.deepcopy(argo.rollout)
    del moving["status"]["pauseConditions"]
    assert change(moving, 50) is None


@pytest.mark.parametrize(("weight", "why"), [(30, "has steps"), (5, "goes back to nothing but 0")])
def test_a_weight_that_cannot_be(argo: Argo, weight: int, why: str) -> None:
    cluster = Cluster(argo.url)
    cluster.set_weight("clearway", "wilting-leaf", 25)
    with pytest.raises(ClusterError, match=why):
        cluster.set_weight("clearway", "wilting-leaf", weight)


def test_a_rollout_that_moves_by_itself_is_left_alone() -> None:
    rollout = one(render(plan(), deployed(), "argo"), "Rollout")
    with pytest.raises(ClusterError, match="moves by itself"):
        position(rollout)


def test_what_the_cluster_refuses_is_said(argo: Argo) -> None:
    with pytest.raises(ClusterError, match="HTTP 404"):
        Cluster(argo.url).set_weight("clearway", "other", 25)


@pytest.mark.parametrize("end", ["completed", "rolled_back"])
def test_it_follows_the_log_of_the_rollout_engine(
    argo: Argo, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "POLL_S", 0.02)
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    get_settings.cache_clear()
    try:
        log = RolloutLog("wilting", get_settings())
        canary = plan(steps=[5, 25, 50, 100]).model_dump(mode="json")
        log.append("submitted", "r1", plan=canary, submitted_at="2024-01-01T00:00:00+00:00")
        log.append("starting", "r1", arm="wilting-v2", ports=[1])
        told = ["follow", "--model", "wilting", "--name", "wilting-leaf", "--api", argo.url, "--wait", "20"]
        follower = threading.Thread(target=main, args=(told,))
        follower.start()
        for step, weight in ((0, 5), (1, 25)):
            log.append("stepped", "r1", step=step, weights={"wilting-v2": weight}, elapsed_s=0.0)
            until(lambda weight=weight: position(argo.rollout).weight == weight)  # type: ignore[misc]
        if end == "completed":
            log.append("switched", "r1", step=3, weights={"wilting-v2": 100}, elapsed_s=0.0)
            until(lambda: position(argo.rollout).weight == 100)
            log.append("aliased", "r1", version="2")
            log.append("completed", "r1", record={})
        else:
            log.append("rolled_back", "r1", reason="gate errors", record={})
        follower.join(10)
        assert not follower.is_alive()
        assert bool(argo.rollout["status"].get("abort")) == (end == "rolled_back")
        assert f"r1 is {end.replace('_', ' ')}" in capsys.readouterr().out
    finally:
        get_settings.cache_clear()


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_command(argo: Argo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "POLL_S", 0.0)
    arguments = ["weight", "--name", "wilting-leaf", "--api", argo.url]
    assert main([*arguments, "--to", "100"]) == 0
    assert capsys.readouterr().out == "wilting-leaf: 100%\n"
    assert main([*arguments, "--to", "25"]) == 1
    assert "goes back to nothing but 0" in capsys.readouterr().err
    assert main([*arguments, "--to", "0"]) == 0
    assert argo.rollout["status"]["abort"] is True
    assert capsys.readouterr().out == "wilting-leaf: 0%\n"
    assert main(["weight", "--name", "wilting-leaf", "--to", "25"]) == 1
    assert "this is no pod" in capsys.readouterr().err
