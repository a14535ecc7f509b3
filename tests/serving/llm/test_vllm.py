"""The real vLLM: launched as an arm is, probed, asked through Envoy and the gateway, drained and stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from serving.gateway.keys import create_key
from serving.llm import probe
from serving.llm.register import register
from serving.llm.spec import SERVER
from serving.rollout.plan import Smoke
from serving.settings import Settings
from tests.serving.llm import fake
from tests.serving.llm import real as vllm

pytestmark = vllm.MARKS


@dataclass
class Real:
    settings: Settings
    process: subprocess.Popen[bytes]
    url: str
    key: str

    def headers(self, ident: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "x-request-id": ident}

    def chat(self, ident: str, **more: Any) -> httpx.Response:
        body = {
            "model": fake.MODEL,
            "messages": [{"role": "user", "content": "Name a colour."}],
            "max_tokens": 12,
            **more,
        }
        url = f"{self.settings.gateway_url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=self.headers(ident), timeout=240)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    settings = fake.home(tmp_path_factory.mktemp("vllm"))
    declared = fake.spec(base=str(vllm.BASE), first_token_s=60, between_tokens_s=30, answer_s=240, max_model_len=512)
    version = register(declared, settings=settings, alias=None)
    with vllm.launched(settings, version) as server:
        fake.log_release(settings, version, server.port, weights={fake.arm(version): 100}, done=True)
        with fake.envoy(settings) as router, fake.gateway(settings):
            router.set_arms({fake.arm(version): f"{settings.host}:{server.port}"})
            router.set_weights(fake.MODEL, {fake.arm(version): 100})
            fake.until("Envoy follows", router.applied)
            yield Real(settings, server.process, server.url, create_key("me", ["predict"], settings))


def test_a_chat_is_streamed_and_whole(real: Real) -> None:
    assert real.process.pid == psutil.Process(real.process.pid).pid
    assert str(SERVER) in psutil.Process(real.process.pid).cmdline()  # the launcher became it
    whole = real.chat("whole-1", temperature=0)
    assert whole.status_code == 200, whole.text
    assert whole.json()["model"] == fake.MODEL
    text = whole.json()["choices"][0]["message"]["content"]
    streamed = real.chat("stream-1", temperature=0, stream=True)
    assert streamed.text.endswith("data: [DONE]\n\n")
    parts = [json.loads(e[6:]) for e in streamed.text.split("\n\n") if e.startswith("data: {")]
    assert "".join(c["delta"].get("content") or "" for part in parts for c in part["choices"]) == text
    assert not any(part.get("usage") for part in parts)
    metrics = httpx.get(f"{real.settings.gateway_url}/metrics").text
    assert (
        f'clearway_llm_time_to_first_token_seconds_count{{arm="{fake.arm("1")}",model="{fake.MODEL}"}} 1.0' in metrics
    )


def test_a_schema_is_kept_and_what_is_asked_wrongly_is_refused(real: Real) -> None:
    schema = {"type": "object", "properties": {"litres": {"type": "integer"}}, "required": ["litres"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer = real.chat("schema-1", response_format=form, max_tokens=60, temperature=0)
    assert set(json.loads(answer.json()["choices"][0]["message"]["content"])) == {"litres"}
    long = real.chat("long-1", max_tokens=5000)
    assert long.status_code == 400
    assert long.json()["error"]["type"] == "BadRequestError"


def test_the_smoke_test_passes(real: Real) -> None:
    evidence = probe.smoke(fake.MODEL, fake.arm("1"), "1", Smoke(requests=2, p95_ms=60_000), "r1", real.settings)
    assert evidence["passed"], evidence


def test_it_drains_and_stops_without_cutting_an_answer(real: Real) -> None:
    """The last of the module: the server is gone afterwards."""
    got: list[httpx.Response] = []
    more = {"stream": True, "max_tokens": 120, "ignore_eos": True}
    caller = threading.Thread(target=lambda: got.append(real.chat("long-answer", **more)))
    caller.start()
    fake.until("it is being answered", lambda: vllm.running_requests(real.url) == 1, 120)
    children = psutil.Process(real.process.pid).children(recursive=True)
    # To the server alone: its workers die of the signal at once, and with them what is being answered.
    real.process.send_signal(signal.SIGTERM)
    # Few enough tokens for a busy machine to make within the time that the server has to drain (30 s).
    caller.join(240)
    assert got, "the answer was cut"
    assert got[0].text.endswith("data: [DONE]\n\n")
    assert got[0].text.count("data: {") > 80  # and it is the whole of it
    assert real.process.wait(120) == 0
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, alive
