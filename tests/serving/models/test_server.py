"""The server in its own process: ready when it can answer, clear when it cannot, never 500."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from serving.events.reader import read_segment
from serving.models.inputs import RowDeriver
from serving.models.model import TabularModel
from serving.models.registry import cache_folder
from serving.models.requests import RequestReader
from serving.runtime.program import clearway_environment, free_port, python
from serving.settings import Settings
from tests.serving.models import toy

pytestmark = pytest.mark.integration


def until(what: str, check: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(home: Settings) -> Iterator[str]:
    port = free_port()
    command = python("serving.models.server", "--model", toy.MODEL, "--version", "1", "--port", str(port))
    process = subprocess.Popen(command, env=clearway_environment(home))
    url = f"http://127.0.0.1:{port}"
    until("live", lambda: httpx.get(f"{url}/healthz").status_code == 200)
    early = httpx.get(f"{url}/readyz")
    assert early.status_code == 503
    assert early.json()["reason"] == "the version is being loaded"
    until("ready", lambda: httpx.get(f"{url}/readyz").status_code == 200)
    yield url
    process.terminate()
    process.wait(20)
    # Every prediction was recorded, and the last segment was closed on the way out.
    events = [event for path in (home.events / "wilting-v1").glob("*.jsonl") for event in read_segment(path)]
    assert not list((home.events / "wilting-v1").glob("*.open"))
    assert {"one", "many-0", "many-1", "own"} <= {event["request_id"] for event in events}


def post(url: str, *requests: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/predict", json={"requests": list(requests)}, headers=headers)


def test_it_answers_what_the_model_gives(server: str, home: Settings) -> None:
    content = post(server, toy.REQUEST, **{"x-request-id": "one"}).json()
    assert (content["model"], content["version"], content["arm"]) == ("wilting", "1", "wilting-v1")
    (prediction,) = content["predictions"]

    model = TabularModel.load(cache_folder(toy.MODEL, "1", home))
    features = {"bed_soil__moisture_7d": 0.5, "bed_soil__soil": "loam", "bed_crop__thirst": 1.25}
    rows = RequestReader(model.spec).read([toy.REQUEST])
    assert prediction["probability"] == model.predict_proba(RowDeriver(model.spec).derive(rows, [features]))[0]
    assert prediction["request_id"] == "one"
    assert prediction["prediction_time"] == "2024-06-01T10:30:00Z"
    assert prediction["feature_times"]["bed_soil"] == "2024-05-31T21:00:00Z"
    assert prediction["missing_features"] == []


def test_many_requests_and_missing_features(server: str) -> None:
    unknown = {**toy.REQUEST, "bed": "bed-99"}
    predictions = post(server, toy.REQUEST, unknown, **{"x-request-id": "many"}).json()["predictions"]
    assert [p["request_id"] for p in predictions] == ["many-0", "many-1"]
    missing = ["bed_soil__moisture_7d", "bed_soil__soil", "bed_crop__thirst"]
    assert [p["missing_features"] for p in predictions] == [[], missing]
    (own,) = post(server, {**toy.REQUEST, "request_id": "own"}).json()["predictions"]
    assert own["request_id"] == "own"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b"null", 422, "invalid_request"),
        (b'{"requests": [{"crop": "oak"}]}', 422, "invalid_request"),
        (b'{"requests": [' + b"1," * 2000 + b"1]}", 422, "invalid_request"),
        (b"x" * 2_000_000, 413, "body_too_large"),
    ],
)
def test_bad_bodies_are_refused_with_a_reason(server: str, body: bytes, status: int, reason: str) -> None:
    response = httpx.post(f"{server}/predict", content=body)
    assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    chunked = httpx.post(f"{server}/predict", content=iter([body]))
    assert (chunked.status_code, chunked.json()["error"]["reason"]) == (status, reason)


def test_concurrent_calls_are_grouped_and_counted(server: str) -> None:
    def metric(name: str) -> float:
        lines = httpx.get(f"{server}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = metric("clearway_model_batch_rows_count"), metric("clearway_model_predictions_total")
    with httpx.Client() as client, ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda _: client.post(f"{server}/predict", json={"requests": [toy.REQUEST]}), range(400))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["predictions"][0]["request_id"] for answer in answers}) == 400
    assert metric("clearway_model_predictions_total") - before[1] == 400
    assert metric("clearway_model_batch_rows_count") - before[0] < 400
    assert 'arm="wilting-v1",code="422"' in httpx.get(f"{server}/metrics").text
    assert httpx.get(f"{server}/v1/spec").json()["model"] == "wilting"


def test_without_features_it_says_so_and_comes_back(server: str, home: Settings) -> None:
    hidden = home.online_pointer.with_suffix(".hidden")
    home.online_pointer.rename(hidden)
    response = post(server, toy.REQUEST)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["reason"] == "features_unavailable"
    until("not ready", lambda: httpx.get(f"{server}/readyz").status_code == 503, 5)
    assert "current.json does not exist" in httpx.get(f"{server}/readyz").json()["reason"]
    assert httpx.get(f"{server}/healthz").status_code == 200
    hidden.rename(home.online_pointer)
    assert post(server, toy.REQUEST).status_code == 200
    until("ready", lambda: httpx.get(f"{server}/readyz").status_code == 200, 5)


def test_a_version_that_does_not_exist_stays_up_and_says_why(home: Settings) -> None:
    port = free_port()
    command = python("serving.models.server", "--model", toy.MODEL, "--version", "77", "--port", str(port))
    process = subprocess.Popen(command, env=clearway_environment(home))
    try:
        url = f"http://127.0.0.1:{port}"
        until("reason", lambda: "version=77) not found" in httpx.get(f"{url}/readyz").json()["reason"])
        response = post(url, toy.REQUEST)
        assert (response.status_code, response.json()["error"]["reason"]) == (503, "not_ready")
    finally:
        process.terminate()
        process.wait(20)
