"""Language models' servers that fail, before their answer begins or in its middle, and callers who go away."""

from __future__ import annotations

from collections.abc import Iterator

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


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["status_500", "reset", "silent", "refuse"])
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
    assert failed["status"] == {"status_500": 500, "reset": 503, "silent": 504, "refuse": 400}[fault]
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
    assert observed[0].measures["refused"] == float(fault == "refuse")
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
