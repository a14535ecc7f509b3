"""What the probes say of servers in every state, and the smoke test through a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.llm import probe
from serving.rollout.plan import Smoke
from tests.serving.llm import fake


@pytest.fixture
def server() -> Iterator[fake.FakeLLM]:
    found = fake.FakeLLM()
    yield found
    found.stop()


def test_ready_means_that_a_token_was_made(server: fake.FakeLLM) -> None:
    assert probe.readiness_problem(server.url, fake.MODEL) is None
    assert server.asked[0]["max_tokens"] == 1
    server.fault = "status_500"  # healthy by /health all the same
    assert "answers 500" in str(probe.readiness_problem(server.url, fake.MODEL))
    server.fault = "silent"
    assert "ReadTimeout" in str(probe.readiness_problem(server.url, fake.MODEL, timeout_s=0.3))
    server.release.set()
    server.fault, server.words = None, []
    assert "without a token" in str(probe.readiness_problem(server.url, fake.MODEL))
    server.stop()
    assert "ConnectError" in str(probe.readiness_problem(server.url, fake.MODEL))


@pytest.mark.integration
def test_the_smoke_test_asks_the_arm_through_the_router(server: fake.FakeLLM, tmp_path: Path) -> None:
    settings = fake.home(tmp_path)
    fake.write_version(settings, "2", fake.spec())
    arm = fake.arm("2")
    plan = Smoke(requests=3, p95_ms=20_000)
    with fake.envoy(settings) as router:
        router.set_arms({arm: f"127.0.0.1:{server.port}"})
        router.set_weights(fake.MODEL, {arm: 0})
        fake.until("Envoy follows", router.applied)
        good = probe.smoke(fake.MODEL, arm, "2", plan, "r2", settings)
        assert (good["passed"], good["requests"], good["errors"], good["reason"]) == (True, 3, 0, None)
        assert [h["x-request-id"] for h in server.headers] == [f"r2-smoke-{n}" for n in range(3)]
        asked = Smoke(requests=1, p95_ms=20_000, examples=[{"messages": [{"role": "user", "content": "Mint?"}]}])
        assert probe.smoke(fake.MODEL, arm, "2", asked, "r3", settings)["passed"]
        assert server.asked[-1]["messages"][0]["content"] == "Mint?"
        slow = probe.smoke(fake.MODEL, arm, "2", Smoke(requests=1, p95_ms=0.001), "r4", settings)
        assert "95th percentile" in slow["reason"]
        server.words = [" "]
        empty = probe.smoke(fake.MODEL, arm, "2", plan, "r5", settings)
        assert (empty["passed"], empty["requests"], empty["first_error"]) == (False, 1, "the answer is empty")
        server.fault = "status_500"
        assert "HTTP 500" in probe.smoke(fake.MODEL, arm, "2", plan, "r6", settings)["reason"]
