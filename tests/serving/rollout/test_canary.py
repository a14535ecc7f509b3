"""Canaries behind a real Envoy: a healthy one is promoted, a broken one leaves, people may step in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from serving.errors import ClearwayError
from serving.models.registry import CHAMPION, alias_version
from serving.rollout import commands
from serving.rollout.gated import timeline_file
from serving.rollout.read import list_rollouts, read_state
from serving.routing.envoy import EnvoyRouter
from serving.runtime.arms import PREFIX
from tests.serving.models import toy
from tests.serving.rollout.canary import Laptop, Users

pytestmark = [pytest.mark.integration, pytest.mark.faults]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    found = Laptop(toy.home(tmp_path_factory.mktemp("home"), versions=2))
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(autouse=True)
def healthy(laptop: Laptop) -> None:
    laptop.faults("2")


def gone(laptop: Laptop, version: str) -> None:
    """The arm drains and its process ends."""
    deadline = time.monotonic() + 40
    while PREFIX + f"{toy.MODEL}-v{version}" in laptop.supervisor.status():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_version_that_fails_is_rolled_back_and_users_stay_with_stable(laptop: Laptop) -> None:
    laptop.faults("2", fail=1.0)
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("2"))
        time.sleep(1.5)
    assert rollout.phase == "rolled_back"
    assert rollout.reason is not None
    assert "gate errors: 1 on the new version against 0 on stable" in rollout.reason
    assert rollout.record is not None
    assert rollout.record["evidence"]["combined"] >= 100
    decided = datetime.fromisoformat(rollout.entries[-1]["at"]).timestamp()
    assert set(users.statuses) == {"200"}, "where the new version failed, stable answered"
    failed = [o for o in laptop.observed() if o.rollout == rollout.id and o.status == 500]
    assert 1 <= len(failed) <= 12, "a step of 10% shows it by a handful of answers"
    assert not [o for o in failed if o.at > decided + 1]
    metrics = httpx.get(f"{laptop.settings.gateway_url}/metrics").text
    assert f'clearway_gateway_fallbacks_total{{arm="{toy.MODEL}-v2",code="500",model="{toy.MODEL}"}}' in metrics
    assert EnvoyRouter(laptop.settings).weights()[toy.MODEL][f"{toy.MODEL}-v1"] == 100
    assert alias_version(toy.MODEL, CHAMPION, laptop.settings) == "1"
    gone(laptop, "2")
    assert read_state(toy.MODEL, laptop.settings).weights == {f"{toy.MODEL}-v1": 100}


def test_a_version_that_dies_on_its_first_request_is_rolled_back(laptop: Laptop) -> None:
    laptop.faults("2", die=True)
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("2"))
    assert rollout.phase == "rolled_back"
    assert "gate errors" in str(rollout.reason)
    assert set(users.statuses) == {"200"}
    gone(laptop, "2")


def test_a_slow_version_is_rolled_back(laptop: Laptop) -> None:
    laptop.faults("2", slow_ms=300)
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("2"))
    assert rollout.phase == "rolled_back"
    assert "gate latency_p90" in str(rollout.reason)
    assert set(users.statuses) == {"200"}
    gone(laptop, "2")


def test_nonsense_given_fast_is_rolled_back_by_what_the_server_says_of_itself(laptop: Laptop) -> None:
    laptop.faults("2", nonsense=True)
    gates = {"latency": [], "scalars": [{"measure": "invalid", "promote_margin": 0.1}]}
    with Users(laptop):
        rollout = laptop.done(laptop.submit("2", gates=gates))
    assert rollout.phase == "rolled_back"
    assert "gate invalid: 1 on the new version against 0 on stable" in str(rollout.reason)
    gone(laptop, "2")


def test_a_measure_that_only_one_version_reports_is_no_evidence(laptop: Laptop) -> None:
    laptop.faults("1", measured=False)
    gates = {"latency": [], "scalars": [{"measure": "invalid", "promote_margin": 0.1}]}
    try:
        with Users(laptop):
            ident = laptop.submit("2", gates=gates, deadline_s=6)
            assert "gate invalid: only one of the versions reported" in str(laptop.held(ident).stopped)
    finally:
        laptop.faults("1")
    commands.send(toy.MODEL, "abort", "somebody", "it cannot be compared", laptop.settings)
    assert laptop.done(ident).phase == "rolled_back"
    gone(laptop, "2")


def shadow(**changes: object) -> dict[str, object]:
    return {"strategy": "shadow", "shadow": {"min_pairs": 30, "min_agreement": 0.9, **changes}}


def test_a_shadow_that_answers_otherwise_leaves_and_nobody_saw_it(laptop: Laptop) -> None:
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("2", **shadow(tolerance=0)))
    assert rollout.phase == "rolled_back"
    assert "gate agreement: 100.00% of" in str(rollout.reason)
    assert (set(users.statuses), set(users.versions)) == ({"200"}, {"1"})
    gone(laptop, "2")


def test_a_shadow_that_dies_costs_users_nothing(laptop: Laptop) -> None:
    laptop.faults("2", die=True)
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("2", **shadow(tolerance=1)))
    assert rollout.phase == "rolled_back"
    assert (set(users.statuses), set(users.versions)) == ({"200"}, {"1"})
    gone(laptop, "2")


def test_a_shadow_is_held_without_pairs_and_may_be_aborted(laptop: Laptop) -> None:
    ident = laptop.submit("2", **shadow(tolerance=1), deadline_s=1.5)
    assert "undecided after" in str(laptop.held(ident).stopped)
    commands.send(toy.MODEL, "abort", "somebody", "nobody asks", laptop.settings)
    assert laptop.done(ident).phase == "rolled_back"
    gone(laptop, "2")


def test_without_traffic_it_holds_and_a_person_decides(laptop: Laptop) -> None:
    ident = laptop.submit("2", deadline_s=1.5)
    held = laptop.held(ident)
    assert "undecided after" in str(held.stopped)
    assert "needs 5 requests on the new version, 0 so far" in str(held.stopped)
    commands.send(toy.MODEL, "resume", "somebody", "give it another moment", laptop.settings)
    deadline = time.monotonic() + 20
    while [e["type"] for e in laptop.rollout(ident).entries].count("held") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = [e["elapsed_s"] for e in laptop.rollout(ident).entries if e["type"] in ("resumed", "held")]
    assert again[2] - again[1] >= 1.5, "its deadline began anew"
    commands.send(toy.MODEL, "abort", "somebody", "nobody is there to ask it", laptop.settings)
    rollout = laptop.done(ident)
    assert rollout.reason == "aborted by somebody: nobody is there to ask it"
    assert rollout.entries[-1]["by"] == "somebody"
    gone(laptop, "2")


def test_a_healthy_version_is_paused_resumed_and_promoted(laptop: Laptop) -> None:
    with Users(laptop, 60) as users:
        ident = laptop.submit("2")
        laptop.until(ident, "stepped", step=0)
        commands.send(toy.MODEL, "pause", "somebody", "lunch", laptop.settings)
        laptop.held(ident, 10)
        time.sleep(3)
        assert laptop.rollout(ident).step == 0, "a paused rollout takes no step"
        with pytest.raises(ClearwayError, match="abort it"):
            commands.roll_back(toy.MODEL, "somebody", "why not", laptop.settings)
        commands.send(toy.MODEL, "resume", "somebody", "back", laptop.settings)
        rollout = laptop.done(ident, 180)
    assert rollout.phase == "completed"
    assert set(users.statuses) == {"200"}
    kinds = [e["type"] for e in rollout.entries]
    assert [k for k in kinds if k != "baselined"] == [
        "submitted", "starting", "ready", "smoked", "stepped", "paused", "resumed", "stepped", "switched", "aliased",
        "completed",
    ]  # fmt: skip
    assert kinds.count("baselined") == 1
    assert rollout.record is not None
    assert rollout.record["approved_by"] == "the plan's gates"
    assert all(gate["promote"] >= 20 for gate in rollout.record["evidence"]["gates"].values())
    assert [s["percent"] for s in rollout.record["steps"] if s["percent"]] == [10, 50, 100]
    assert alias_version(toy.MODEL, CHAMPION, laptop.settings) == "2"
    assert len(timeline_file(laptop.settings, toy.MODEL, ident).read_text().splitlines()) > 3
    with pytest.raises(ClearwayError, match="no rollout of model wilting is under way"):
        commands.send(toy.MODEL, "pause", "somebody", "too late", laptop.settings)


def test_in_an_ab_release_each_user_stays_with_one_version(laptop: Laptop) -> None:
    stable = str(read_state(toy.MODEL, laptop.settings).stable)[-1]
    other = "1" if stable == "2" else "2"
    laptop.faults(other, slow_ms=1)
    plan = {"strategy": "ab", "segments": {"window_s": 4, "min_users": 20}, "gates": {"latency": [], "scalars": []}}
    changes = {"steps": [{"weight": 50, "min_seconds": 0, "min_requests": 0}, 100], **plan}
    laptop.submit(other, **changes)
    ident = [r.id for r in list_rollouts(toy.MODEL, laptop.settings)][-1]
    laptop.until(ident, "stepped", step=0)
    time.sleep(1)
    with Users(laptop, 60, people=60) as users:
        assert "undecided" not in str(laptop.rollout(ident).stopped)
        time.sleep(10)
        assert laptop.rollout(ident).phase == "stepped", "sixty users do not prove a margin of a tenth"
    assert set(users.statuses) == {"200"}
    assert set().union(*users.seen_by.values()) == {"1", "2"}
    assert [user for user, versions in users.seen_by.items() if len(versions) > 1] == []
    commands.send(toy.MODEL, "abort", "somebody", "seen enough", laptop.settings)
    rollout = laptop.done(ident)
    assert rollout.record is not None
    evidence = rollout.record["evidence"]
    assert evidence["new_requests"] + evidence["stable_requests"] <= 60, "users are counted, not requests"
    assert min(evidence["new_requests"], evidence["stable_requests"]) >= 10


def test_a_shadow_that_agrees_takes_all_traffic(laptop: Laptop) -> None:
    stable = read_state(toy.MODEL, laptop.settings).stable
    other = "1" if stable == f"{toy.MODEL}-v2" else "2"
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit(other, **shadow(tolerance=1)))
        time.sleep(1)
    assert (rollout.phase, rollout.reason) == ("completed", None)
    assert rollout.record is not None
    assert "0.00% of" in rollout.record["steps"][-1]["why"]
    assert set(users.statuses) == {"200"}
    assert laptop.done(commands.roll_back(toy.MODEL, "somebody", "as before", laptop.settings)).phase == "completed"


def test_a_canary_may_answer_copies_first(laptop: Laptop) -> None:
    stable = read_state(toy.MODEL, laptop.settings).stable
    other = "1" if stable == f"{toy.MODEL}-v2" else "2"
    with Users(laptop) as users:
        compared = {"min_pairs": 30, "min_agreement": 0.9, "tolerance": 1}
        rollout = laptop.done(laptop.submit(other, shadow_first=True, shadow=compared), 180)
        time.sleep(1)
    assert (rollout.phase, rollout.reason) == ("completed", None)
    kinds = [e["type"] for e in rollout.entries if e["type"] in ("shadowing", "stepped", "switched")]
    assert kinds[:2] == ["shadowing", "stepped"]
    assert kinds[-1] == "switched"
    first = next(e for e in rollout.entries if e["type"] == "stepped")
    assert (first["step"], first["elapsed_s"]) == (0, 0.0), "the steps have a time of their own"
    assert "0.00% of" in first["why"]
    assert set(users.statuses) == {"200"}
    assert laptop.done(commands.roll_back(toy.MODEL, "somebody", "as before", laptop.settings)).phase == "completed"


def test_copies_that_disagree_end_a_canary_before_any_user_sees_it(laptop: Laptop) -> None:
    stable = read_state(toy.MODEL, laptop.settings).stable
    other = "1" if stable == f"{toy.MODEL}-v2" else "2"
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit(other, shadow_first=True, shadow={"min_pairs": 30, "tolerance": 0}))
    assert rollout.phase == "rolled_back"
    assert not [e for e in rollout.entries if e["type"] == "stepped"]
    assert set(users.statuses) == {"200"}
    assert read_state(toy.MODEL, laptop.settings).stable == stable


def test_the_way_back_is_one_command(laptop: Laptop) -> None:
    assert read_state(toy.MODEL, laptop.settings).stable == f"{toy.MODEL}-v2"
    rollout = laptop.done(commands.roll_back(toy.MODEL, "somebody", "a complaint", laptop.settings))
    assert (rollout.phase, rollout.version) == ("completed", "1")
    assert rollout.record is not None
    assert rollout.record["requested_by"] == "somebody"


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("rollouts/wilting/pause", {"reason": "lunch"}, 409, "no rollout of model wilting is under way"),
        ("rollouts/wilting/jump", {"reason": "why not"}, 404, "expected pause, resume, promote, abort"),
        ("rollouts/wilting/pause", {}, 422, "some words for the record"),
        ("rollouts/wilting/pause", {"reason": " "}, 422, "some words for the record"),
        ("rollouts/wilting/pause", [], 422, "some words for the record"),
        ("rollouts/roses/pause", {"reason": "lunch"}, 404, "no model 'roses' was released"),
        ("outcomes/roses", {}, 404, "no model 'roses' was released"),
        ("outcomes/wilting", {"request_id": "a"}, 422, "outcome 0: expected"),
        ("outcomes/wilting", [{"request_id": "a", "measures": {"loss": 1}}, {}], 422, "outcome 1: expected"),
        ("outcomes/wilting", {"request_id": "a", "measures": {}}, 422, "outcome 0: expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_a_reason(
    laptop: Laptop, path: str, body: object, status: int, told: str
) -> None:
    url = f"{laptop.settings.gateway_url}/v1/{path}"
    response = httpx.post(url, json=body, headers=laptop.headers)
    assert response.status_code == status
    assert told in response.json()["error"]["message"]
    assert httpx.post(url, json=body).status_code == 401
    reader = {"authorization": f"Bearer {laptop.reader}"}
    assert httpx.post(url, json=body, headers=reader).json()["error"]["reason"] == "scope_missing"


def test_losses_that_are_reported_through_the_gateway_decide(laptop: Laptop) -> None:
    """Versions answer alike; what becomes known afterwards tells them apart."""
    stable = str(read_state(toy.MODEL, laptop.settings).stable)[-1]
    other = "1" if stable == "2" else "2"
    gates = {"latency": [], "scalars": [{"measure": "loss", "promote_margin": 0.2}]}
    with Users(laptop, 20):
        ident = laptop.submit(other, gates=gates, steps=[{"weight": 50, "min_seconds": 600}, 100])
        laptop.until(ident, "stepped")
        for number in range(300):
            request = f"judged-{number}"
            answer = httpx.post(laptop.url, json=toy.REQUEST, headers={**laptop.headers, "x-request-id": request})
            loss = 0.8 if answer.json()["version"] == other else 0.2
            report = {"request_id": request, "measures": {"loss": loss}}
            sent = httpx.post(
                f"{laptop.settings.gateway_url}/v1/outcomes/{toy.MODEL}", json=report, headers=laptop.headers
            )
            assert (sent.status_code, sent.json()["taken"]) == (202, 1)
            if laptop.rollout(ident).done:
                break
        rollout = laptop.done(ident, 10)
    assert rollout.phase == "rolled_back"
    assert "gate loss: 0.8 on the new version against 0.2 on stable" in str(rollout.reason)


def test_a_person_steps_in_through_the_gateway(laptop: Laptop) -> None:
    stable = str(read_state(toy.MODEL, laptop.settings).stable)[-1]
    other = "1" if stable == "2" else "2"
    ident = laptop.submit(other)
    laptop.until(ident, "stepped")
    url = f"{laptop.settings.gateway_url}/v1/rollouts/{toy.MODEL}"
    sent = httpx.post(f"{url}/promote", json={"reason": "tried elsewhere"}, headers=laptop.headers)
    assert (sent.status_code, sent.json()["rollout"]) == (202, ident)
    rollout = laptop.done(ident)
    assert (rollout.phase, rollout.version) == ("completed", other)
    assert rollout.record is not None
    assert rollout.record["approved_by"] == "load"
    (shown,) = [r for r in httpx.get(url, headers=laptop.headers).json()["rollouts"] if r["id"] == ident]
    assert shown["record"]["steps"][-1]["why"] == "promoted by load: tried elsewhere"


def test_callers_of_the_old_schema_are_answered_until_the_release_completes(laptop: Laptop) -> None:
    """The new version refuses what stable takes: users get stable's answer, and the version leaves."""
    stable = str(read_state(toy.MODEL, laptop.settings).stable)[-1]
    other = "1" if stable == "2" else "2"
    laptop.faults(other, refuse=True)
    try:
        with Users(laptop) as users:
            rollout = laptop.done(laptop.submit(other))
    finally:
        laptop.faults(other)
    assert rollout.phase == "rolled_back"
    assert "gate refused: 1 on the new version against 0 on stable" in str(rollout.reason)
    assert (set(users.statuses), set(users.versions)) == ({"200"}, {stable})
    bad = {**toy.REQUEST, "crop": "oak"}
    refused = httpx.post(laptop.url, json=bad, headers=laptop.headers)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (422, "invalid_request")
