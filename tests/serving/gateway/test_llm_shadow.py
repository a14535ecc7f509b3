"""A shadow of a language model is asked what users ask, and users neither see nor feel it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from serving.gateway.keys import create_key
from serving.gateway.llm_shadow import copied, difference
from serving.rollout.log import RolloutLog
from serving.rollout.observations import Observation, ObservationTail
from serving.rollout.plan import ReleasePlan
from serving.settings import Settings
from tests.serving.llm import fake

pytestmark = pytest.mark.integration
GREEDY = {"model": fake.MODEL, "messages": [{"role": "user", "content": "What now?"}], "temperature": 0}
SHADOW = fake.arm("2")


@dataclass
class World:
    settings: Settings
    stable: fake.FakeLLM
    shadow: fake.FakeLLM
    key: str
    tail: ObservationTail

    def ask(self, ident: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}", "x-request-id": ident}
        url = f"{self.settings.gateway_url}/v1/chat/completions"
        return httpx.post(url, json={**GREEDY, **more}, headers=headers, timeout=20)

    def compared(self, ident: str) -> Observation:
        found: list[Observation] = []

        def complete() -> bool:
            seen = (o for o in self.tail.read() if isinstance(o, Observation))
            found.extend(o for o in seen if o.request_id == ident and o.arm == SHADOW)
            return bool(found)

        fake.until(f"{ident} is compared", complete)
        return found[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = fake.home(tmp_path_factory.mktemp("shadow"))
    stable, shadow = fake.FakeLLM(), fake.FakeLLM()
    for version in ("1", "2"):
        fake.write_version(settings, version, fake.spec(max_concurrent=2))
    fake.log_release(settings, "1", stable.port, weights={fake.arm("1"): 100}, done=True)
    log, plan = RolloutLog(fake.MODEL, settings), ReleasePlan(model=fake.MODEL, version="2", strategy="shadow")
    log.append("submitted", "r2", plan=plan.model_dump(mode="json"), submitted_at="2024-01-01T00:00:00+00:00")
    log.append("starting", "r2", arm=SHADOW, ports=[shadow.port])
    log.append("ready", "r2")
    log.append("smoked", "r2", evidence={"passed": True})
    log.append("shadowing", "r2", why="the smoke test passed", elapsed_s=0.0)
    with fake.envoy(settings) as router, fake.gateway(settings):
        router.set_arms({fake.arm("1"): f"127.0.0.1:{stable.port}", SHADOW: f"127.0.0.1:{shadow.port}"})
        router.set_weights(fake.MODEL, {fake.arm("1"): 100, SHADOW: 0}, mirror=(SHADOW, 100))
        fake.until("Envoy follows", router.applied)
        yield World(settings, stable, shadow, create_key("me", ["predict"], settings), ObservationTail(settings))
    stable.stop()
    shadow.stop()


@pytest.fixture(autouse=True)
def healthy(world: World) -> None:
    for server in (world.stable, world.shadow):
        server.fault, server.words = None, list(fake.WORDS)
        server.asked.clear()
        server.release.clear()


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_words_are_no_difference_and_each_is_asked_once(world: World, stream: bool) -> None:
    ident = f"same-{stream}"
    response = world.ask(ident, stream=stream)
    assert (response.status_code, response.headers["x-clearway-arm"]) == (200, fake.arm("1"))
    seen = world.compared(ident)
    assert (seen.rollout, seen.status, seen.measures["difference"]) == ("r2", 200, 0)
    assert (len(world.stable.asked), world.shadow.asked) == (1, [GREEDY])


def test_other_words_are_one(world: World) -> None:
    world.shadow.words = ["Water", " the", " roses", " twice", "."]
    assert world.ask("other").json()["choices"][0]["message"]["content"] == "".join(fake.WORDS)
    assert world.compared("other").measures["difference"] == pytest.approx(0.2)  # the full stop is a word, too


@pytest.mark.parametrize("fault", ["status_500", "reset", "silent"])
def test_a_shadow_that_fails_costs_users_nothing_and_is_as_far_apart_as_can_be(world: World, fault: str) -> None:
    world.shadow.fault = fault
    started = time.monotonic()
    assert world.ask(f"fails-{fault}").status_code == 200
    assert time.monotonic() - started < 1, "nobody waits for a shadow"
    world.shadow.release.set() if fault != "silent" else None
    seen = world.compared(f"fails-{fault}")
    assert seen.measures["difference"] == 1
    assert seen.status >= 500


def test_what_differs_by_chance_is_not_copied(world: World) -> None:
    assert world.ask("sampled", temperature=0.7).status_code == 200
    assert world.ask("after").status_code == 200
    world.compared("after")
    assert len(world.shadow.asked) == 1
    assert copied({"temperature": 0, "n": 2}) is None
    assert copied({"messages": []}) is None


def test_an_answer_that_users_did_not_get_is_compared_with_nothing(world: World) -> None:
    world.stable.fault = "status_500"
    assert world.ask("failed").status_code >= 500
    world.stable.fault = None
    assert world.ask("next").status_code == 200
    fake.until("the shadow answered both", lambda: len(world.shadow.asked) == 2)
    world.compared("next")
    assert not [o for o in world.tail.read() if o.request_id == "failed" and o.arm == SHADOW]
    metrics = httpx.get(f"{world.settings.gateway_url}/metrics").text
    assert f'clearway_llm_copies_total{{arm="{SHADOW}",code="200",model="{fake.MODEL}"}}' in metrics


def test_the_difference_is_a_share_of_words() -> None:
    assert difference("", "") == 0
    assert difference("a b c d", "a b c e") == pytest.approx(0.25)
    assert difference("a", "b") == 1
    assert difference('{"a":"x"}', '{"a": "x"}') == 0
    assert difference('{"a":"x"}', '{"a":"y"}') == pytest.approx(1 / 9)
