"""Rollouts of a language model, whole: supervisord, Envoy, controller, gateway and a real vLLM of each version.

The tests follow each other on one laptop: what the first releases is stable to the next. A version's server takes some
twenty seconds to start, so none is started that an earlier test has left running, and few people ask meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from serving.gateway.keys import create_key
from serving.llm.register import register
from serving.llm.spec import SERVER
from serving.models.registry import CHAMPION, alias_version
from serving.rollout.plan import parse_plan
from serving.rollout.read import read_rollout, read_state, wait_for
from serving.rollout.state import Rollout
from serving.rollout.submit import submit
from serving.routing.envoy import EnvoyRouter
from serving.routing.router import ARM_HEADER
from serving.runtime import processes
from serving.runtime.arms import PREFIX
from serving.runtime.laptop import start_serving, stop_all
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings
from tests.serving.llm import adapter, fake
from tests.serving.llm import real as vllm
from tests.serving.llm.chats import Chats

pytestmark = [*vllm.MARKS, pytest.mark.faults]
FIRST, SOUND, BROKEN, BENT = "1", "2", "3", "4"
DONE_SECONDS = 300
# Fits into the broken version's context, which is why its smoke test passes.
SHORT = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}],
    "max_tokens": 4,
}
# What is tried is the machinery: wide margins, so that few requests of servers on half a core tell enough.
PLAN: dict[str, Any] = {
    "model": fake.MODEL,
    "strategy": "canary",
    "steps": [
        {"weight": 25, "min_seconds": 2, "min_requests": 2},
        {"weight": 50, "min_seconds": 2, "min_requests": 5},
        100,
    ],
    "gates": {
        "errors": {"rollback_margin": 0.01, "promote_margin": 0.5},
        "latency": [],
        "scalars": [{"measure": "refused", "rollback_margin": 0.01, "promote_margin": 0.5}],
    },
    "min_requests": 12,
    "ready_timeout_s": 240,
    "smoke": {"requests": 2, "p95_ms": 60_000},
    "requested_by": "the test",
}


@dataclass
class Laptop:
    settings: Settings
    supervisor: Supervisor
    key: str

    def submit(self, version: str, **changes: Any) -> str:
        return submit(parse_plan({**PLAN, "version": version, **changes}, "the test's plan"), self.settings)

    def done(self, ident: str) -> Rollout:
        return wait_for(fake.MODEL, ident, DONE_SECONDS, self.settings, until_held=True)

    def until(self, ident: str, phase: str) -> None:
        def reached() -> bool:
            found = read_rollout(fake.MODEL, ident, self.settings)
            assert found.phase == phase or not found.done, (found.phase, found.reason)
            return found.phase == phase

        fake.until(f"the rollout is {phase}", reached, DONE_SECONDS)

    def processes(self, version: str) -> list[psutil.Process]:
        """The server of a version, then its workers."""
        pid = self.supervisor.status()[PREFIX + fake.arm(version)].pid
        assert pid is not None
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    def chats(self, **more: Any) -> Chats:
        return Chats(self.settings, self.key, fake.MODEL, **more)

    def begun(self, version: str, **changes: Any) -> str:
        """A canary that has reached its first step while somebody asked, who saw nothing of it."""
        with self.chats(people=1, pause_s=1.0) as chats:
            ident = self.submit(version, **changes)
            self.until(ident, "stepped")
        assert (chats.statuses, chats.endings) == ({"200"}, {"[DONE]"})
        return ident

    def greedy(self, version: str, question: str) -> str:
        """The most likely answer of a version, whatever its weight."""
        url = f"http://{self.settings.host}:{self.settings.envoy_port}/models/{fake.MODEL}/v1/chat/completions"
        body = {"model": fake.MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 12,
                "temperature": 0}  # fmt: skip
        answer = httpx.post(url, json=body, headers={ARM_HEADER: fake.arm(version)}, timeout=60)
        assert (answer.status_code, answer.headers[ARM_HEADER]) == (200, fake.arm(version)), answer.text
        return str(answer.json()["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Given versions of one base, of which the first is released: plain; with an adapter that changes nothing; with a
    context that is too short for what people ask; with an adapter that bends its answers."""
    folder = tmp_path_factory.mktemp("rollout")
    settings = fake.home(folder)
    plain = fake.spec(base=str(vllm.BASE), max_model_len=512, max_num_seqs=4, kv_cache_bytes=64 << 20,
                      first_token_s=20, between_tokens_s=10, answer_s=30, examples=[SHORT])  # fmt: skip
    zero = adapter.write(folder / "zero", vllm.BASE, rank=8)
    assert register(plain, alias=None, settings=settings) == FIRST
    assert register(plain, zero, alias=None, settings=settings) == SOUND
    assert register(plain.model_copy(update={"max_model_len": 32}), alias=None, settings=settings) == BROKEN
    bent = adapter.write(folder / "bent", vllm.BASE, rank=8, size=0.5)
    assert register(plain, bent, alias=None, settings=settings) == BENT
    found = Laptop(settings, start_serving(settings), create_key("me", ["predict"], settings))
    try:
        first = found.done(found.submit(FIRST, strategy="blue_green"))
        assert first.phase == "completed", first.reason
        yield found
    finally:
        for process in processes.marked(settings.runtime):  # vLLM takes long to stop while it starts
            if str(SERVER) in process.cmdline():
                process.kill()
        stop_all(settings)


def kinds(rollout: Rollout) -> list[str]:
    """Types of the log's entries in order, without the baseline's, which comes when stable has answered enough."""
    return [entry["type"] for entry in rollout.entries if entry["type"] != "baselined"]


def test_a_first_version_is_released_by_its_smoke_test(laptop: Laptop) -> None:
    (first,) = read_state(fake.MODEL, laptop.settings).rollouts.values()
    assert kinds(first) == ["submitted", "starting", "ready", "smoked", "switched", "aliased", "completed"]
    assert first.record is not None
    assert (first.record["approved_by"], first.record["replaced"]) == ("the plan's smoke test", None)
    assert alias_version(fake.MODEL, CHAMPION, laptop.settings) == FIRST
    with laptop.chats() as chats:
        chats.more(3)
    assert (chats.statuses, chats.endings, set(chats.arms)) == ({"200"}, {"[DONE]"}, {fake.arm(FIRST)})


def test_a_sound_version_is_promoted_under_its_gates(laptop: Laptop) -> None:
    ident = laptop.begun(SOUND)
    with laptop.chats() as chats:
        rollout = laptop.done(ident)
        chats.more(6)
    assert (rollout.phase, rollout.reason) == ("completed", None), rollout.stopped
    assert kinds(rollout) == [
        "submitted", "starting", "ready", "smoked", "stepped", "stepped", "switched", "aliased", "completed",
    ]  # fmt: skip
    record = rollout.record
    assert record is not None
    assert (record["outcome"], record["replaced"], record["approved_by"]) == ("completed", FIRST, "the plan's gates")
    assert record["trained_from"]["adapter"] == "adapter"
    assert [step["percent"] for step in record["steps"]] == [25, 50, 100]
    assert set(record["evidence"]["gates"]) == {"errors", "refused"}
    assert all(gate["promote"] >= 20 for gate in record["evidence"]["gates"].values())
    assert alias_version(fake.MODEL, CHAMPION, laptop.settings) == SOUND
    assert EnvoyRouter(laptop.settings).weights() == {fake.MODEL: {fake.arm(FIRST): 0, fake.arm(SOUND): 100}}
    # Nobody saw more of it than a change of versions.
    assert (chats.statuses, chats.endings) == ({"200"}, {"[DONE]"})
    assert set(chats.arms) == {fake.arm(FIRST), fake.arm(SOUND)}
    assert {told.arm for told in chats.told[-3:]} == {fake.arm(SOUND)}


def test_an_adapter_that_changes_nothing_answers_as_the_base(laptop: Laptop) -> None:
    """The version before is kept running, so that both can be asked."""
    assert "--enable-lora" in laptop.processes(SOUND)[0].cmdline()
    for question in ("Name a colour.", "What do beans need?"):
        assert laptop.greedy(SOUND, question) == laptop.greedy(FIRST, question)


def test_a_shadow_that_says_something_else_leaves_and_nobody_hears_it(laptop: Laptop) -> None:
    compared = {"min_pairs": 5, "min_agreement": 0.5, "tolerance": 0.2}
    with laptop.chats(people=2, temperature=0, max_tokens=12) as chats:
        rollout = laptop.done(laptop.submit(BENT, strategy="shadow", shadow=compared))
        chats.more(2)
    assert rollout.phase == "rolled_back", rollout.stopped
    assert kinds(rollout) == ["submitted", "starting", "ready", "smoked", "shadowing", "rolled_back"]
    assert str(rollout.reason).startswith("gate agreement: ")
    assert rollout.record is not None
    assert rollout.record["evidence"]["gates"]["agreement"]["new"] > 0.5
    assert (chats.statuses, chats.endings, set(chats.arms)) == ({"200"}, {"[DONE]"}, {fake.arm(SOUND)})


def test_a_version_that_refuses_what_people_ask_is_rolled_back(laptop: Laptop) -> None:
    ident = laptop.begun(BROKEN)
    loser = laptop.processes(BROKEN)
    with laptop.chats() as chats:
        rollout = laptop.done(ident)
        chats.more(6)
    assert rollout.phase == "rolled_back", rollout.stopped
    assert kinds(rollout)[:5] == ["submitted", "starting", "ready", "smoked", "stepped"]
    assert "switched" not in kinds(rollout)
    assert str(rollout.reason).startswith("gate refused: 1 on the new version against 0 on stable")
    record = rollout.record
    assert record is not None
    assert (record["outcome"], record["version"], record["approved_by"]) == ("rolled_back", BROKEN, None)
    assert record["evidence"]["combined"] >= 100
    assert alias_version(fake.MODEL, CHAMPION, laptop.settings) == SOUND
    # What it refused, stable answered.
    assert (chats.statuses, chats.endings, set(chats.arms)) == ({"200"}, {"[DONE]"}, {fake.arm(SOUND)})
    _, alive = psutil.wait_procs(loser, timeout=60)
    assert not alive, alive
    fake.until("its program is forgotten", lambda: PREFIX + fake.arm(BROKEN) not in laptop.supervisor.status())
    assert fake.arm(BROKEN) not in EnvoyRouter(laptop.settings).arms()


def test_a_version_whose_server_is_killed_is_rolled_back_and_people_are_answered(laptop: Laptop) -> None:
    """The first version once more, which is running still."""
    ident = laptop.submit(FIRST, steps=[{"weight": 50, "min_seconds": 60}, 100])
    laptop.until(ident, "stepped")
    server = laptop.processes(FIRST)
    with laptop.chats(people=2, max_tokens=150, ignore_eos=True) as long:
        fake.until("its answer has begun", lambda: long.speaking(fake.arm(FIRST)), DONE_SECONDS)
        server[0].kill()
        with laptop.chats() as chats:
            rollout = laptop.done(ident)
            chats.more(6)
    assert rollout.phase == "rolled_back", rollout.stopped
    assert str(rollout.reason).startswith("gate errors: ")
    assert alias_version(fake.MODEL, CHAMPION, laptop.settings) == SOUND
    # Whose answer had begun is told that it is not whole; nobody else notices.
    assert (chats.statuses, chats.endings) == ({"200"}, {"[DONE]"})
    broken = [told for told in long.told if told.ending != "[DONE]"]
    assert long.statuses == {"200"}
    assert 1 <= len(broken) <= 2
    for told in broken:
        assert told.ending in ("arm_died", "timeout")
        assert told.arm == fake.arm(FIRST)
        assert told.words
    # Nothing of it stays behind, and as the version before it is started again.
    _, alive = psutil.wait_procs(server, timeout=60)
    assert not alive, alive
    before = (None, server[0].pid)
    fake.until("it runs again", lambda: laptop.supervisor.status()[PREFIX + fake.arm(FIRST)].pid not in before)
