"""A real Envoy follows the files: weights, arms, header, and no request lost while they change."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from serving.routing.envoy import EnvoyRouter
from serving.routing.router import ARM_HEADER, RoutingError
from serving.runtime.program import free_port
from serving.settings import Settings

pytestmark = pytest.mark.integration


class Arm:
    """An HTTP server that answers with its name, and knows how often it was asked."""

    def __init__(self, name: str, port: int = 0, ready: bool = True) -> None:
        self.asked: list[str] = []
        self.ready = ready
        arm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200 if arm.ready else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                arm.asked.append(self.path)
                body = name.encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def router(tmp_path: Path) -> EnvoyRouter:
    first = free_port()
    return EnvoyRouter(Settings(home=tmp_path, envoy_port=first, envoy_admin_port=free_port(taken=[first])))


@pytest.fixture
def running(router: EnvoyRouter) -> Iterator[EnvoyRouter]:
    router.prepare()
    process = subprocess.Popen(router.command())
    applied(router)
    yield router
    process.terminate()
    process.wait(10)


def applied(router: EnvoyRouter) -> None:
    until("Envoy takes the files", router.applied)


def until(what: str, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ask(router: EnvoyRouter, client: httpx.Client, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{router.settings.envoy_port}/models/m/predict"
    return client.post(url, content=b"{}", headers=headers)


def test_the_files_validate(router: EnvoyRouter) -> None:
    router.prepare()
    router.set_arms({"m-v1": "127.0.0.1:1", "m-v2": "localhost:2"})
    router.set_weights("m", {"m-v1": 100, "m-v2": 0})
    done = subprocess.run([*router.command(), "--mode", "validate"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout


def test_weights_and_header_decide_who_answers(running: EnvoyRouter) -> None:
    arms = {name: Arm(name) for name in ("m-v1", "m-v2")}
    running.set_arms({name: arm.address for name, arm in arms.items()})
    running.set_weights("m", {"m-v1": 75, "m-v2": 25})
    applied(running)
    with httpx.Client() as client:
        found = Counter(ask(running, client).text for _ in range(400))
        assert 60 <= found["m-v2"] <= 140
        assert {ask(running, client, **{ARM_HEADER: "m-v2"}).text for _ in range(20)} == {"m-v2"}
        assert ask(running, client, **{ARM_HEADER: "m-v9"}).status_code == 404
        assert set(arms["m-v2"].asked) == {"/predict"}

        running.set_weights("m", {"m-v1": 0, "m-v2": 0})
        applied(running)
        assert ask(running, client).json()["error"]["reason"] == "no_arm"
        running.set_arms({"m-v1": f"127.0.0.1:{free_port()}", "m-v2": arms["m-v2"].address})  # nobody listens
        running.set_weights("m", {"m-v1": 100, "m-v2": 0})
        applied(running)
        assert ask(running, client).status_code == 503
        running.set_weights("m", {})
        applied(running)
        assert ask(running, client).json()["error"]["reason"] == "unknown_model"
    assert running.weights() == {}
    for arm in arms.values():
        arm.stop()


def test_an_arm_is_reached_once_the_router_itself_found_all_its_servers_ready(running: EnvoyRouter) -> None:
    first, second, alone = Arm("a"), Arm("b", ready=False), Arm("c", ready=False)
    running.set_arms({"m-v1": f"{first.address},{second.address}", "m-v2": alone.address})
    running.set_weights("m", {"m-v1": 100, "m-v2": 0})
    applied(running)
    until("one that is alone, which nobody asks for its health, is reached", lambda: running.reaches("m-v2"))
    time.sleep(1.5)
    assert not running.reaches("m-v1")
    assert not running.reaches("m-v3")
    second.ready = True
    until("Envoy asks again", lambda: running.reaches("m-v1"))
    for arm in (first, second, alone):
        arm.stop()


def test_no_request_is_lost_while_weights_move_and_an_arm_leaves(running: EnvoyRouter) -> None:
    old, new = Arm("m-v1"), Arm("m-v2")
    running.set_arms({"m-v1": old.address})
    running.set_weights("m", {"m-v1": 100})
    applied(running)
    statuses: Counter[int] = Counter()
    done = threading.Event()

    def load() -> None:
        with httpx.Client() as client:
            while not done.is_set():
                statuses[ask(running, client).status_code] += 1

    def more() -> None:
        enough, deadline = sum(statuses.values()) + 30, time.monotonic() + 20
        while sum(statuses.values()) < enough:
            assert time.monotonic() < deadline, "requests are not answered"
            time.sleep(0.02)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    running.set_arms({"m-v1": old.address, "m-v2": new.address})
    for weight in (0, 5, 50, 100, 30, 100):
        running.set_weights("m", {"m-v1": 100 - weight, "m-v2": weight})
        applied(running)
        more()
    running.set_weights("m", {"m-v2": 100})
    running.set_arms({"m-v2": new.address})
    applied(running)
    more()
    done.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert statuses[200] > 100
    assert old.asked
    assert new.asked
    old.stop()
    new.stop()


def test_what_contradicts_itself_is_refused_and_changes_nothing(router: EnvoyRouter) -> None:
    router.set_arms({"m-v1": "127.0.0.1:1"})
    router.set_weights("m", {"m-v1": 100})
    with pytest.raises(RoutingError, match="unknown arms m-v2"):
        router.set_weights("m", {"m-v2": 100})
    with pytest.raises(RoutingError, match="negative"):
        router.set_weights("m", {"m-v1": -1})
    with pytest.raises(RoutingError, match="still have a weight"):
        router.set_arms({})
    assert router.weights() == {"m": {"m-v1": 100}}
    assert router.arms() == {"m-v1": "127.0.0.1:1"}
    assert not router.applied()  # no Envoy runs
    assert not router.reaches("m-v1")
    assert router.active("m-v1") is None
