"""OpenAI's protocol through the real gateway and a real Envoy: answers, refusals, limits, records, metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.serving.gateway.openai_chain import CHAT, TEXT, World, chain, events, said
from tests.serving.llm import fake

pytestmark = [pytest.mark.integration, pytest.mark.faults]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with chain(tmp_path_factory.mktemp("llm")) as found:
        yield found


@pytest.fixture(autouse=True)
def healthy(world: World) -> None:
    world.heal()


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
