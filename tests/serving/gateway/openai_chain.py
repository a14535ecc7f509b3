"""The chain that tests of OpenAI's protocol ask: gateway, Envoy and two small servers that fail as they are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from serving.events.reader import read_segment
from serving.gateway.keys import create_key
from serving.llm.paths import llm_events
from serving.rollout.observations import ObservationTail
from serving.routing.envoy import EnvoyRouter
from serving.settings import Settings
from tests.serving.llm import fake

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

    def heal(self) -> None:
        """Everything as it was: all traffic to stable, nothing fails."""
        self.split(0)
        for server in (self.stable, self.canary):
            server.fault, server.words = None, list(fake.WORDS)
            server.asked.clear()
            server.headers.clear()
            server.abandoned.clear()
            server.release.clear()
        self.tail.read()


@contextmanager
def chain(folder: Path) -> Iterator[World]:
    """Stable version 1 and, of the weight that a test gives it, version 2 under a canary."""
    settings = fake.home(folder)
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


def events(response: httpx.Response) -> list[Any]:
    """Contents of a stream's events; ``[DONE]`` stays text."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def said(response: httpx.Response) -> str:
    choices = [c for event in events(response) if isinstance(event, dict) for c in event.get("choices", [])]
    return "".join(choice["delta"].get("content", "") for choice in choices)
