"""OpenAI's protocol through the real gateway and a real Envoy, against small servers that fail as they are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from serving.events.reader import read_segment
from serving.gateway.keys import create_key
from serving.llm.paths import llm_events
from serving.rollout.observations import ObservationTail
from serving.routing.envoy import EnvoyRouter
from serving.settings import Settings
from tests.serving.llm import fake

pytestmark = [pytest.mark.integration, pytest.mark.faults]
CHAT = {"model": fake.MODEL, "messages": [{"role": "user", "content": "What do beans need?"}], "max_tokens": 20}
TEXT = "".join(fake.WORDS)


@dataclass
class World:
    settings: Settings
    router: EnvoyRouter
    stable: fake.FakeLLM
    canary: fake.FakeLLM
    keys: dict[str, str]
    tail: ObservationTail
    seen: set[str] = field(default_factory=set)

    def post(self, body: Any = CHAT, path: str = "chat/completions", key: str = "me", **headers: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[key]}", **headers}
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return httpx.post(f"{self.settings.gateway_url}/v1/{path}", headers=headers, timeout=20, **content)

    def split(self, canary: int) -> None:
        """Send ``canary`` percent of the requests to version 2."""
        weights = {fake.arm("1"): 100 - canary, fake.arm("2"): canary}
        self.router.set_weights(fake.MODEL, weights, split=f"r2:{canary}" if canary else None)
        fake.until("Envoy follows", self.router.applied)

    def records(self, ident: str, count: int = 1) -> list[dict[str, Any]]:
        """The ``count`` records of a request, in closed and open segments; they come when its answer is over."""
        found: list[dict[str, Any]] = []

        def complete() -> bool:
            paths = sorted(llm_events(self.settings).glob("*/0*"))
            found[:] = [event for path in paths for event in read_segment(path) if event["request_id"] == ident]
            return len(found) >= count

        fake.until(f"{ident} is recorded", complete)
        return found

    def observed(self, ident: str, count: int = 1) -> list[Any]:
        """What the gates learn of a request, ``count`` observations."""
        found: list[Any] = []

        def complete() -> bool:
            found.extend(o for o in self.tail.read() if o.request_id == ident)
            return len(found) >= count

        fake.until(f"{ident} is observed", complete)
        return found

    def metric(self, name: str, **labels: str) -> float:
        text = httpx.get(f"{self.settings.gateway_url}/metrics").text
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = fake.home(tmp_path_factory.mktemp("llm"))
    stable, canary = fake.FakeLLM(), fake.FakeLLM()
    for version in ("1", "2"):
        fake.write_version(settings, version, fake.spec(max_concurrent=4))
    fake.log_release(settings, "1", stable.port, weights={fake.arm("1"): 100}, done=True)
    fake.log_release(settings, "2", canary.port, weights={fake.arm("1"): 50, fake.arm("2"): 50}, done=False)
    keys = {
        "me": create_key("me", ["predict"], settings),
        "reader": create_key("reader", ["read"], settings),
        "slow": create_key("slow", ["predict"], settings, requests_per_minute=2),
        "poor": create_key("poor", ["predict"], settings, tokens_per_minute=100),
    }
    with fake.envoy(settings) as router, fake.gateway(settings):
        router.set_arms({fake.arm("1"): f"127.0.0.1:{stable.port}", fake.arm("2"): f"127.0.0.1:{canary.port}"})
        found = World(settings, router, stable, canary, keys, ObservationTail(settings))
        found.split(0)
        yield found
    stable.stop()
    canary.stop()


@pytest.fixture(autouse=True)
def healthy(world: World) -> None:
    world.split(0)
    for server in (world.stable, world.canary):
        server.fault, server.words = None, list(fake.WORDS)
        server.asked.clear()
        server.headers.clear()
        server.abandoned.clear()
        server.release.clear()
    world.tail.read()


def events(response: httpx.Response) -> list[Any]:
    """Contents of a stream's events; ``[DONE]`` stays text."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def said(response: httpx.Response) -> str:
    choices = [c for event in events(response) if isinstance(event, dict) for c in event.get("choices", [])]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_a_whole_answer_passes_unchanged_and_is_recorded(world: World) -> None:
    response = world.post(**{"x-request-id": "whole-1"})
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == TEXT
    assert (response.headers["x-request-id"], response.headers["x-clearway-arm"]) == ("whole-1", fake.arm("1"))
    assert world.stable.asked == [CHAT]
    told = {name: world.stable.headers[0].get(name) for name in ("x-request-id", "x-clearway-caller")}
    assert told == {"x-request-id": "whole-1", "x-clearway-caller": "me"}
    assert "authorization" not in world.stable.headers[0]
    (record,) = world.records("whole-1")
    wanted = {"status": 200, "version": "1", "arm": fake.arm("1"), "caller": "me", "prompt_tokens": 7,
              "completion_tokens": 5, "finish_reason": "stop", "stream": False, "refusal": False, "invalid": None,
              "cost": pytest.approx(57e-6), "ttft_ms": None, "rollout": None}  # fmt: skip
    assert {name: record[name] for name in wanted} == wanted
    assert 0 < record["latency_ms"] < 20_000
    plain = world.post({"model": fake.MODEL, "prompt": "Beans need", "max_tokens": 5}, "completions")
    assert plain.json()["choices"][0]["text"] == TEXT


def test_a_stream_passes_event_by_event(world: World) -> None:
    world.stable.fault = "hang_mid"
    body = {**CHAT, "stream": True}
    headers = {"authorization": f"Bearer {world.keys['me']}", "x-request-id": "stream-1"}
    url = f"{world.settings.gateway_url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        got = ""
        for chunk in response.iter_text():
            got += chunk
            if " the" in got and not world.stable.release.is_set():
                assert " beans" not in got  # what was said before the server went on is here already
                world.stable.release.set()
    assert got.endswith("data: [DONE]\n\n")
    assert '"usage"' not in got  # the gateway asked for it, the caller did not
    assert world.stable.asked[0]["stream_options"] == {"include_usage": True}
    (record,) = world.records("stream-1")
    assert (record["prompt_tokens"], record["completion_tokens"], record["finish_reason"]) == (7, 5, "stop")
    assert 0 < record["ttft_ms"] <= record["latency_ms"]
    assert record["inter_token_ms"] > 0


def test_usage_is_passed_to_who_asked_for_it(world: World) -> None:
    response = world.post({**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    assert events(response)[-2]["usage"]["completion_tokens"] == 5
    assert said(response) == TEXT


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["status_500", "reset", "silent"])
def test_a_canary_that_does_not_begin_is_replaced_by_stable(world: World, fault: str, stream: bool) -> None:
    world.canary.fault = fault
    world.split(90)
    ident = f"fall-{fault}-{stream}"
    for attempt in range(30):  # until one is drawn for the canary; the draw is Envoy's
        response = world.post({**CHAT, "stream": stream}, **{"x-request-id": f"{ident}-{attempt}"})
        assert response.status_code == 200
        assert response.headers["x-clearway-arm"] == fake.arm("1")
        assert (said(response) if stream else response.json()["choices"][0]["message"]["content"]) == TEXT
        if world.canary.asked:
            break
    failed, good = world.records(f"{ident}-{attempt}", 2)
    assert (failed["attempt"], failed["arm"], failed["version"]) == (1, fake.arm("2"), "2")
    assert failed["status"] == {"status_500": 500, "reset": 503, "silent": 504}[fault]
    assert (good["attempt"], good["arm"], good["status"], good["fallback_from"]) == (
        2,
        fake.arm("1"),
        200,
        fake.arm("2"),
    )
    assert world.metric("clearway_llm_fallbacks_total", arm=fake.arm("2")) >= 1
    observed = world.observed(f"{ident}-{attempt}", 2)
    # Also of an arm that gave no sign the gates learn, under the rollout that was judged by it.
    assert [(o.arm, o.rollout) for o in observed] == [(fake.arm("2"), "r2"), (fake.arm("1"), None)]
    world.canary.release.set()


@pytest.mark.parametrize("fault", ["die_before", "hang_before", "error_first"])
def test_a_stream_that_ends_before_its_first_token_is_replaced_too(world: World, fault: str) -> None:
    world.canary.fault = fault
    world.split(90)
    for attempt in range(30):
        response = world.post({**CHAT, "stream": True}, **{"x-request-id": f"first-{fault}-{attempt}"})
        assert (response.status_code, said(response)) == (200, TEXT)
        if world.canary.asked:
            break
    failed, good = world.records(f"first-{fault}-{attempt}", 2)
    assert (failed["arm"], good["arm"]) == (fake.arm("2"), fake.arm("1"))
    observed = world.observed(f"first-{fault}-{attempt}", 2)
    assert [(o.arm, o.status >= 500, o.rollout, o.percent) for o in observed] == [
        (fake.arm("2"), True, "r2", 90),
        (fake.arm("1"), False, None, None),
    ]
    world.canary.release.set()


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [("die_mid", "arm_died", 502), ("hang_mid", "timeout", 504), ("error_mid", "arm_died", 502),
     ("garbage", "arm_died", 502)],
)  # fmt: skip
def test_a_stream_that_breaks_ends_with_an_error_event(world: World, fault: str, code: str, status: int) -> None:
    world.stable.fault = fault
    response = world.post({**CHAT, "stream": True}, **{"x-request-id": f"mid-{fault}"})
    assert response.status_code == 200
    *_, last = events(response)
    assert said(response) == "Water the"
    assert (last["error"]["code"], last["error"]["type"]) == (code, "server_error")
    assert last["error"]["request_id"] == f"mid-{fault}"
    (record,) = world.records(f"mid-{fault}")
    assert (record["status"], record["error"], record["arm"]) == (status, code, fake.arm("1"))
    world.stable.release.set()


@pytest.mark.parametrize(("fault", "status"), [("status_500", 500), ("silent", 504), ("reset", 503)])
def test_stable_that_fails_is_an_error_not_a_second_try(world: World, fault: str, status: int) -> None:
    world.stable.fault = fault
    response = world.post(**{"x-request-id": f"stable-{fault}"})
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["type"], error["request_id"]) == ("server_error", f"stable-{fault}")
    assert error["code"] == error["reason"]
    assert world.canary.asked == []
    # With two arms in use, one that gave no sign might have been the other: stable is asked again, nobody is blamed.
    arms = [None, fake.arm("1")] if fault == "silent" else [fake.arm("1")]
    records = world.records(f"stable-{fault}", len(arms))
    assert [(record["arm"], record["status"]) for record in records] == [(arm, status) for arm in arms]
    assert len(world.stable.asked) <= len(arms)
    world.stable.release.set()


def test_a_caller_who_goes_away_stops_the_server_and_gives_its_place_back(world: World) -> None:
    world.stable.words = ["word"] * 100_000
    headers = {"authorization": f"Bearer {world.keys['me']}", "x-request-id": "gone-1"}
    url = f"{world.settings.gateway_url}/v1/chat/completions"
    with httpx.stream("POST", url, json={**CHAT, "stream": True}, headers=headers, timeout=20) as response:
        next(response.iter_raw())
    assert world.stable.abandoned.wait(20)
    (record,) = world.records("gone-1")
    assert (record["status"], record["error"]) == (499, "client_gone")
    fake.until("its place is free", lambda: world.metric("clearway_llm_running", model=fake.MODEL) == 0)


def test_more_than_a_model_takes_at_once_is_429(world: World) -> None:
    world.stable.fault = "silent"
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(world.post().status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    fake.until("all four are there", lambda: len(world.stable.asked) == 4)
    response = world.post()
    assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    world.stable.release.set()
    for thread in threads:
        thread.join(20)
    assert results == [200] * 4
    world.stable.fault = None
    assert world.post().status_code == 200


def test_a_key_has_its_requests_and_tokens_a_minute(world: World) -> None:
    statuses = [world.post(key="slow") for _ in range(3)]
    assert [response.status_code for response in statuses] == [200, 200, 429]
    assert statuses[2].json()["error"]["code"] == "requests_per_minute"
    assert statuses[2].json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(statuses[2].headers["retry-after"]) <= 30
    # 12 tokens each: what a request might have cost is given back when it is over.
    found = [world.post(key="poor") for _ in range(12)]
    codes = [response.status_code for response in found]
    assert codes[:2] == [200, 200]
    assert codes[-1] == 429
    assert found[-1].json()["error"]["code"] == "tokens_per_minute"
    assert world.metric("clearway_llm_limited_total", model=fake.MODEL, reason="tokens_per_minute") >= 1


@pytest.mark.parametrize(
    ("words", "more", "refusal", "invalid"),
    [
        (["I'm sorry, but", " no"], {}, True, None),
        (['{"a"', ": 1}"], {"response_format": {"type": "json_object"}}, False, False),
        (['{"a"', ": "], {"response_format": {"type": "json_object"}}, False, True),
        (["[1]"], {"response_format": {"type": "json_object"}}, False, True),
        (['{"a": "x"}'], {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {
            "type": "object", "properties": {"a": {"type": "integer"}}}}}}, False, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
def test_refusals_and_broken_forms_are_seen(
    world: World, words: list[str], more: dict[str, Any], refusal: bool, invalid: bool | None, stream: bool
) -> None:
    world.stable.words = words
    ident = f"judge-{abs(hash((str(words), str(more), stream)))}"
    assert world.post({**CHAT, **more, "stream": stream}, **{"x-request-id": ident}).status_code == 200
    (record,) = world.records(ident)
    assert (record["refusal"], record["invalid"]) == (refusal, invalid)
    (observed,) = world.observed(ident)
    assert observed.measures["refusal"] == float(refusal)
    assert observed.measures.get("invalid") == (None if invalid is None else float(invalid))


def test_what_is_asked_wrongly_is_refused_with_a_reason(world: World) -> None:
    def outcome(response: httpx.Response) -> tuple[int, str]:
        return response.status_code, response.json()["error"]["code"]

    assert outcome(world.post(b"{")) == (400, "invalid_json")
    assert outcome(world.post(b"[]")) == (422, "invalid_request")
    assert outcome(world.post({**CHAT, "model": "roses"})) == (404, "unknown_model")
    assert outcome(world.post({**CHAT, "model": "../../etc"})) == (404, "unknown_model")
    assert outcome(world.post({**CHAT, "model": 7})) == (404, "unknown_model")
    assert outcome(world.post(b"x" * 2_000_000)) == (413, "body_too_large")
    assert outcome(world.post(key="reader")) == (403, "scope_missing")
    assert (
        world.post({**CHAT, "stream": True, "stream_options": ["usage"]}).status_code == 200
    )  # the server's to refuse
    assert world.stable.asked[-1]["stream_options"] == ["usage"]
    # What the server itself refuses passes as it said it.
    refused = world.post({**CHAT, "temperature": -1}, **{"x-request-id": "refused-1"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "BadRequestError")
    (record,) = world.records("refused-1")
    assert (record["status"], record["error"]) == (400, "refused")


def test_the_list_of_models_is_both_protocols(world: World) -> None:
    headers = {"authorization": f"Bearer {world.keys['me']}"}
    content = httpx.get(f"{world.settings.gateway_url}/v1/models", headers=headers, timeout=60).json()
    assert content["object"] == "list"
    assert [(m["id"], m["object"], m["owned_by"]) for m in content["data"]] == [(fake.MODEL, "model", "clearway")]
    (model,) = content["models"]
    assert (model["model"], model["stable"], model["language_model"]["context"]) == (fake.MODEL, "1", 2048)


def test_a_user_stays_with_an_arm_while_a_release_tells_users_apart(world: World) -> None:
    weights = {fake.arm("1"): 50, fake.arm("2"): 50}
    sticky = {"by": "header", "name": "x-clearway-user", "salt": "r2"}
    world.router.set_weights(fake.MODEL, weights, split="r2:50", sticky=sticky)
    fake.until("Envoy follows", world.router.applied)
    fake.until("the gateway has read it", lambda: world.post(**{"x-clearway-user": "u"}).status_code == 200)
    users = [f"user-{number}" for number in range(12)]
    fake.until("users are told apart", lambda: world.post(**{"x-clearway-user": "u", "x-request-id": "t"}) and any(
        o.user == "u" for o in world.tail.read()))  # fmt: skip
    drawn = {
        user: {world.post(**{"x-clearway-user": user}).headers["x-clearway-arm"] for _ in range(3)} for user in users
    }
    assert all(len(arms) == 1 for arms in drawn.values())
    assert {arm for arms in drawn.values() for arm in arms} == set(weights)


def test_metrics_have_tokens_times_and_cost_by_arm(world: World) -> None:
    own = {"model": fake.MODEL, "arm": fake.arm("1")}
    before = {
        name: world.metric(f"clearway_llm_{name}", **own)
        for name in ("cost_total", "time_to_first_token_seconds_count")
    }
    tokens = world.metric("clearway_llm_tokens_total", kind="completion", **own)
    assert world.post({**CHAT, "stream": True}, **{"x-request-id": "metrics-1"}).status_code == 200
    world.records("metrics-1")
    assert world.metric("clearway_llm_tokens_total", kind="completion", **own) == tokens + 5
    assert world.metric("clearway_llm_cost_total", **own) == pytest.approx(before["cost_total"] + 57e-6)
    count = "clearway_llm_time_to_first_token_seconds_count"
    assert world.metric(count, **own) == before["time_to_first_token_seconds_count"] + 1
