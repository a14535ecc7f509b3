"""The whole chain as it runs on a laptop: supervisord, Envoy, controller, model servers and gateway, all real."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from serving.events.reader import closed_segments, read_segment
from serving.gateway.keys import create_key
from serving.models.registry import CHAMPION, alias_version
from serving.rollout.plan import ReleasePlan
from serving.rollout.read import read_rollout, read_state, wait_for
from serving.rollout.submit import submit
from serving.routing.envoy import EnvoyRouter
from serving.runtime import processes
from serving.runtime.laptop import start_serving, stop_all
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings
from tests.serving.gateway.load import Load
from tests.serving.models import toy

pytestmark = [pytest.mark.integration, pytest.mark.faults]


@dataclass
class Chain:
    settings: Settings
    supervisor: Supervisor
    keys: dict[str, str]

    def headers(self, key: str = "predict") -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[key]}"}

    @property
    def url(self) -> str:
        return f"{self.settings.gateway_url}/v1/predictions/{toy.MODEL}"

    def predict(self, body: Any = toy.REQUEST, **headers: str) -> httpx.Response:
        return httpx.post(self.url, json=body, headers={**self.headers(), **headers}, timeout=30)

    def release(self, version: str, **plan: Any) -> Any:
        made = ReleasePlan(model=toy.MODEL, version=version, requested_by="the test", **plan)
        return wait_for(toy.MODEL, submit(made, self.settings), 120, self.settings)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    settings = toy.home(tmp_path_factory.mktemp("home"), versions=3)
    keys = {scope: create_key(f"{scope}-key", [scope], settings) for scope in ("predict", "read")}
    found = Chain(settings, start_serving(settings), keys)
    try:
        assert found.predict().json()["error"]["reason"] == "unknown_model"  # nothing is released yet
        assert found.release("1").phase == "completed"
        yield found
    finally:
        stop_all(settings)
    assert processes.marked(settings.runtime) == []


def until(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


def test_predictions_are_answered_and_recorded(chain: Chain) -> None:
    one = chain.predict(**{"x-request-id": "chain-1"})
    assert (one.status_code, one.headers["x-request-id"]) == (200, "chain-1")
    content = one.json()
    assert (content["version"], content["arm"]) == ("1", "wilting-v1")
    many = chain.predict([toy.REQUEST] * 3)
    ident = many.headers["x-request-id"]
    assert [p["request_id"] for p in many.json()["predictions"]] == [f"{ident}-{n}" for n in range(3)]

    def events() -> dict[str, dict[str, Any]]:
        found = [event for path in closed_segments(chain.settings.events) for event in read_segment(path)]
        return {event["request_id"]: event for event in found}

    until("the segment is closed by age", lambda: "chain-1" in events(), 45)
    event = events()["chain-1"]
    assert (event["caller"], event["model"], event["version"]) == ("predict-key", "wilting", "1")
    assert event["score"] == content["predictions"][0]["probability"]
    assert event["features"] == {"bed_soil__moisture_7d": 0.5, "bed_soil__soil": "loam", "bed_crop__thirst": 1.25}
    assert event["request"]["crop"] == "kale"
    assert event["window"] == "w1"
    assert chain.keys["predict"] not in str(events())


def changed(**change: Any) -> dict[str, Any]:
    return {**toy.REQUEST, **change}


@pytest.mark.parametrize(
    ("body", "status", "reason", "told"),
    [
        (changed(crop="oak"), 422, "invalid_request", "'oak' is unknown"),
        ({k: v for k, v in toy.REQUEST.items() if k != "litres"}, 422, "invalid_request", "'litres': is missing"),
        (changed(litres="much"), 422, "invalid_request", "expected a number"),
        (changed(watering="2024-06-01 12:00"), 422, "invalid_request", "no offset"),
        (changed(colour="red"), 422, "invalid_request", "not a field"),
        ([], 422, "invalid_request", "at least one"),
        ([toy.REQUEST, 7], 422, "invalid_request", "request 1: expected an object"),
        ([toy.REQUEST] * 1001, 422, "invalid_request", "at most 1000"),
        ("text", 422, "invalid_request", "an object"),
        (None, 422, "invalid_request", "an object"),
        (b"{", 400, "invalid_json", "not JSON"),
        (b'{"a": NaN}', 400, "invalid_json", "not JSON"),
        (b'{"crop": "\xff"}', 400, "invalid_json", "not JSON"),
        (b"[" * 50_000, 400, "invalid_json", "not JSON"),
        (b"", 400, "invalid_json", "not JSON"),
        (b"x" * 10_000_000, 413, "body_too_large", "1048576"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(chain: Chain, body: Any, status: int, reason: str, told: str) -> None:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    if body is None:
        content = {"content": b"null"}
    response = httpx.post(chain.url, headers={**chain.headers(), "x-request-id": "bad-1"}, timeout=30, **content)
    error = response.json()["error"]
    assert (response.status_code, error["reason"], error["request_id"]) == (status, reason, "bad-1")
    assert told in error["message"]
    assert response.headers["x-request-id"] == "bad-1"


def test_keys_scopes_and_unknown_models_are_refused(chain: Chain) -> None:
    def status_and_reason(**more: Any) -> tuple[int, str]:
        response = httpx.post(more.pop("url", chain.url), json=toy.REQUEST, **more)
        return response.status_code, response.json()["error"]["reason"]

    assert status_and_reason() == (401, "no_key")
    for value in ("Bearer", "Bearer nonsense", "Basic abc", "Bearer \xe4".encode("latin-1")):
        assert status_and_reason(headers={"authorization": value})[0] == 401
    assert status_and_reason(headers=chain.headers("read")) == (403, "scope_missing")
    unknown = httpx.post(f"{chain.settings.gateway_url}/v1/predictions/roses", json={}, headers=chain.headers())
    assert (unknown.status_code, unknown.json()["error"]["models"]) == (404, [toy.MODEL])
    gateway = chain.settings.gateway_url
    assert httpx.get(f"{gateway}/v1/rollouts", headers=chain.headers("predict")).status_code == 403
    assert httpx.get(f"{gateway}/v1/rollouts/roses", headers=chain.headers("read")).status_code == 404
    assert httpx.get(f"{gateway}/nowhere").json()["error"]["reason"] == "not_found"
    assert httpx.get(chain.url).json()["error"]["reason"] == "method_not_allowed"
    # An arm cannot be chosen from outside.
    assert chain.predict(**{"x-clearway-arm": "no-such-arm"}).status_code == 200


def test_what_is_there_can_be_seen(chain: Chain) -> None:
    gateway = chain.settings.gateway_url
    content = httpx.get(f"{gateway}/v1/models", headers=chain.headers("read"), timeout=60).json()
    (model,) = content["models"]
    assert content["registry_problem"] is None
    assert (model["model"], model["stable"]) == ("wilting", "1")
    assert model["arms"] == [{"arm": "wilting-v1", "version": "1", "weight": 100}]
    assert [(v["version"], v["aliases"]) for v in model["versions"]] == [("3", []), ("2", []), ("1", ["champion"])]
    assert model["example"] == toy.REQUEST

    (rollout,) = httpx.get(f"{gateway}/v1/rollouts/wilting", headers=chain.headers("read")).json()["rollouts"]
    record = rollout["record"]
    assert (record["outcome"], record["requested_by"], record["version"]) == ("completed", "the test", "1")
    assert record["trained_from"] == {"snapshots": {"beds": "s-1"}}
    assert record["smoke"]["requests"] == 20

    schema = httpx.get(f"{gateway}/openapi.json").json()
    body = schema["paths"]["/v1/predictions/{model}"]["post"]["requestBody"]["content"]["application/json"]
    assert chain.predict(body["examples"]["wilting"]["value"]).status_code == 200
    assert httpx.get(f"{gateway}/docs").status_code == 200
    assert httpx.get(f"{gateway}/readyz").json()["models"] == ["wilting"]
    metrics = httpx.get(f"{gateway}/metrics").text
    assert 'clearway_gateway_requests_total{code="200",model="wilting",route="predictions"}' in metrics
    assert 'reason="invalid_request"' in metrics


def test_a_release_under_load_loses_no_request(chain: Chain) -> None:
    with Load(chain.url, toy.REQUEST, chain.headers()) as load:
        assert chain.release("2").phase == "completed"
        until("all get version 2", lambda: chain.predict().json()["version"] == "2", 5)
    assert set(load.statuses) == {"200"}
    assert set(load.versions) == {"1", "2"}
    state = read_state(toy.MODEL, chain.settings)
    assert (state.stable, state.previous, state.weights) == (
        "wilting-v2",
        "wilting-v1",
        {"wilting-v1": 0, "wilting-v2": 100},
    )
    assert alias_version(toy.MODEL, CHAMPION, chain.settings) == "2"
    assert {"arm-wilting-v1", "arm-wilting-v2"} <= set(chain.supervisor.status())


def test_a_version_that_fails_its_smoke_test_never_gets_a_user(chain: Chain) -> None:
    with Load(chain.url, toy.REQUEST, chain.headers()) as load:
        rollout = chain.release("3")
    assert rollout.phase == "rolled_back"
    assert "HTTP 422" in rollout.reason
    assert "'oak' is unknown" in rollout.reason
    assert rollout.record["outcome"] == "rolled_back"
    assert set(load.statuses) == {"200"}
    assert set(load.versions) == {"2"}
    until("its server is gone", lambda: "arm-wilting-v3" not in chain.supervisor.status())
    assert EnvoyRouter(chain.settings).weights() == {"wilting": {"wilting-v1": 0, "wilting-v2": 100}}
    assert alias_version(toy.MODEL, CHAMPION, chain.settings) == "2"
    missing = chain.release("99")
    assert missing.phase == "rolled_back"
    assert "version=99) not found" in missing.reason


@pytest.mark.parametrize("name", ["arm-wilting-v2", "envoy", "gateway", "rollout-controller"])
def test_what_is_killed_comes_back(chain: Chain, name: str) -> None:
    pid = chain.supervisor.status()[name].pid
    assert pid is not None
    with Load(chain.url, toy.REQUEST, chain.headers(), threads=1) as load:
        os.kill(pid, signal.SIGKILL)
        until(f"{name} runs again", lambda: chain.supervisor.status()[name].pid not in (pid, None))
        until("predictions", lambda: chain.predict().status_code == 200)
    # Refused for a while with a reason, or the connection dropped: never wrong, never hung.
    assert set(load.statuses) <= {"200", "503", "ConnectError", "ReadError", "RemoteProtocolError"}
    if name == "rollout-controller":
        assert set(load.statuses) == {"200"}


def test_an_arm_that_is_down_is_503_with_retry_after(chain: Chain) -> None:
    pid = chain.supervisor.status()["arm-wilting-v2"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    response = chain.predict()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["reason"] in ("arm_unavailable", "not_ready")
    until("predictions", lambda: chain.predict().status_code == 200)


def test_without_its_online_store_it_refuses_with_a_reason(chain: Chain) -> None:
    store = chain.settings.features / "online" / "w1" / "online.db"
    hidden = store.with_suffix(".hidden")
    store.rename(hidden)
    response = chain.predict()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["reason"] == "features_unavailable"
    assert "online.db does not exist" in response.json()["error"]["message"]
    hidden.rename(store)
    until("predictions", lambda: chain.predict().status_code == 200, 10)


def test_a_second_release_waits_for_the_first(chain: Chain) -> None:
    plans = [ReleasePlan(model=toy.MODEL, version=version) for version in ("1", "2")]
    first, second = (submit(plan, chain.settings) for plan in plans)
    until("the first runs", lambda: read_rollout(toy.MODEL, first, chain.settings).phase != "queued")
    assert read_rollout(toy.MODEL, second, chain.settings).phase == "queued"
    assert wait_for(toy.MODEL, first, 60, chain.settings).phase == "completed"  # the way back: version 1 still ran
    assert wait_for(toy.MODEL, second, 60, chain.settings).phase == "completed"
    assert alias_version(toy.MODEL, CHAMPION, chain.settings) == "2"


def test_after_a_stop_nothing_runs_and_a_start_brings_the_stable_version_back(chain: Chain) -> None:
    everybody = [process.pid for process in processes.marked(chain.settings.runtime)]
    assert len(everybody) >= 5
    log = (chain.settings.rollouts / toy.MODEL / "log.jsonl").read_bytes()
    stop_all(chain.settings)
    assert not [pid for pid in everybody if psutil.pid_exists(pid)]
    # Even with supervisor's programs and the router's files gone, the log knows what must run.
    for file in [*(chain.settings.runtime / "conf.d").iterdir(), *chain.settings.routing.glob("*.json")]:
        file.unlink()
    start_serving(chain.settings)
    until("predictions", lambda: chain.predict().status_code == 200)
    assert chain.predict().json()["version"] == "2"
    assert (chain.settings.rollouts / toy.MODEL / "log.jsonl").read_bytes() == log
