"""The state is what the log says, whichever prefix of it there is."""

from __future__ import annotations

from typing import Any

import pytest

from serving.rollout.plan import ReleasePlan
from serving.rollout.state import Arm, fold

Entry = dict[str, Any]


def release(version: str, port: int, end: str = "completed", *, others: list[str] | None = None,
            keep_previous: bool = True) -> list[Entry]:  # fmt: skip
    """The entries of one release of a version."""
    plan = ReleasePlan(model="m", version=version, keep_previous=keep_previous).model_dump(mode="json")
    arm, ident = f"m-v{version}", f"r{version}"
    entries: list[Entry] = [
        {"type": "submitted", "plan": plan},
        {"type": "starting", "arm": arm, "port": port},
        {"type": "ready"},
        {"type": "smoked", "evidence": {"passed": end == "completed"}},
    ]
    if end == "completed":
        weights = {**dict.fromkeys(others or [], 0), arm: 100}
        entries += [
            {"type": "switched", "weights": weights},
            {"type": "aliased", "version": version},
            {"type": "completed", "record": {"outcome": "completed"}},
        ]
    else:
        entries.append({"type": "rolled_back", "reason": "smoke", "record": {}})
    return [{"rollout": ident, **entry} for entry in entries]


def test_three_releases_keep_one_generation() -> None:
    log = [*release("1", 1), *release("2", 2, others=["m-v1"]), *release("3", 3, others=["m-v1", "m-v2"])]
    state = fold("m", log)
    assert (state.stable, state.previous, state.champion, state.running) == ("m-v3", "m-v2", "3", None)
    assert state.arms == {"m-v2": Arm("m-v2", "2", (2,)), "m-v3": Arm("m-v3", "3", (3,))}
    assert state.weights == {"m-v2": 0, "m-v3": 100}
    assert [rollout.phase for rollout in state.rollouts.values()] == ["completed"] * 3


def test_until_it_switches_a_release_moves_no_traffic_and_the_old_previous_stays() -> None:
    before = [*release("1", 1), *release("2", 2, others=["m-v1"])]
    third = release("3", 3, others=["m-v1", "m-v2"])
    for length in range(1, 5):
        state = fold("m", [*before, *third[:length]])
        assert state.weights["m-v2"] == 100
        assert sum(state.weights.values()) == 100
        assert {"m-v1", "m-v2"} <= set(state.arms)
        assert (state.stable, state.champion) == ("m-v2", "2")
        assert state.running is not None
        assert state.running.phase == third[length - 1]["type"]


def test_a_failed_release_leaves_everything_and_takes_its_arm_along() -> None:
    before = release("1", 1)
    state = fold("m", [*before, *release("2", 2, "rolled_back")])
    expected = fold("m", before)
    assert (state.arms, state.weights, state.stable, state.champion) == (
        expected.arms,
        expected.weights,
        expected.stable,
        expected.champion,
    )
    assert state.rollouts["r2"].reason == "smoke"


def test_a_failed_release_of_what_is_stable_or_previous_keeps_that_arm() -> None:
    log = [*release("1", 1), *release("2", 2, others=["m-v1"])]
    for version in ("1", "2"):
        again = [{**entry, "rollout": "again"} for entry in release(version, 9, "rolled_back")]
        state = fold("m", [*log, *again])
        assert set(state.arms) == {"m-v1", "m-v2"}
        assert state.arms[f"m-v{version}"].port == int(version)
        assert state.weights == {"m-v1": 0, "m-v2": 100}


def test_the_way_back_is_a_release_of_the_previous_version() -> None:
    log = [*release("1", 1), *release("2", 2, others=["m-v1"])]
    back = [{**entry, "rollout": "back"} for entry in release("1", 9, others=["m-v2"])]
    state = fold("m", [*log, *back])
    assert (state.stable, state.previous, state.champion) == ("m-v1", "m-v2", "1")
    assert state.arms["m-v1"].port == 1


def test_without_keep_previous_only_the_new_arm_runs() -> None:
    log = [*release("1", 1), *release("2", 2, others=["m-v1"], keep_previous=False)]
    draining = fold("m", log)
    assert (list(draining.arms), list(draining.draining), draining.previous) == (["m-v1", "m-v2"], ["m-v1"], None)
    state = fold("m", [*log, {"type": "drained", "rollout": "", "arm": "m-v1"}])
    assert (list(state.arms), state.weights, state.draining) == (["m-v2"], {"m-v2": 100}, {})


def under_gates(*entries: dict[str, object]) -> list[dict[str, object]]:
    """Version 1 is stable, version 2 stands at 10%, then what is given."""
    log = [*release("1", 1), *release("2", 2, others=["m-v1"])[:4]]
    log[-4]["plan"]["steps"] = [{"weight": 10}, {"weight": 50}, {"weight": 100}]  # type: ignore[index]
    stepped = {"type": "stepped", "step": 0, "weights": {"m-v1": 90, "m-v2": 10}, "elapsed_s": 0.0}
    return [*log, *({"rollout": "r2", "at": "-", **e} for e in (stepped, *entries))]


def test_a_canary_that_is_rolled_back_gives_all_traffic_back_and_drains() -> None:
    state = fold("m", under_gates())
    assert (state.running and state.running.percent, state.weights) == (10, {"m-v1": 90, "m-v2": 10})
    state = fold("m", under_gates({"type": "rolled_back", "reason": "errors", "record": {}, "elapsed_s": 9.0}))
    assert (state.weights, state.draining, state.stable) == ({"m-v1": 100, "m-v2": 0}, {"m-v2": "r2"}, "m-v1")
    assert set(state.arms) == {"m-v1", "m-v2"}
    assert state.running is None


def test_a_canary_is_held_and_goes_on_with_its_clock() -> None:
    held = {"type": "held", "reason": "undecided", "elapsed_s": 40.0}
    rollout = fold("m", under_gates(held)).running
    assert rollout is not None
    assert (rollout.phase, rollout.stopped, rollout.elapsed_s, rollout.step_elapsed_s) == (
        "stepped", "held: undecided", 40.0, 0.0,
    )  # fmt: skip
    resumed = {"type": "resumed", "reason": "go on", "by": "me", "command": "c1", "elapsed_s": 50.0}
    rollout = fold("m", under_gates(held, resumed)).running
    assert rollout is not None
    assert (rollout.stopped, rollout.commands) == (None, {"c1"})
    assert (rollout.resumed_elapsed_s, rollout.resumed_at) == (50.0, "-"), "its deadline counts from there"


def test_an_arm_that_moved_has_its_new_port_and_an_unknown_entry_is_refused() -> None:
    log = release("1", 1)
    state = fold("m", [*log, {"type": "arm_moved", "rollout": "", "arm": "m-v1", "port": 7}])
    assert state.arms["m-v1"].port == 7
    with pytest.raises(ValueError, match="unknown type of entry 'teleported'"):
        fold("m", [*log, {"type": "teleported", "rollout": "r1"}])


def rolling(*entries: dict[str, object]) -> list[dict[str, object]]:
    """Version 1 has three servers, version 2 rolls over it, then what is given."""
    log = release("1", 1)
    log[1] = {"type": "starting", "rollout": "r1", "arm": "m-v1", "ports": [1, 2, 3]}
    plan = ReleasePlan(model="m", version="2", strategy="rolling", replicas=3).model_dump(mode="json")
    begun: list[dict[str, object]] = [
        {"type": "submitted", "plan": plan},
        {"type": "starting", "arm": "m-v2", "ports": [11]},
        {"type": "ready"},
        {"type": "smoked", "evidence": {"passed": True}},
        {"type": "stepped", "step": 0, "weights": {"m-v1": 67, "m-v2": 33}, "elapsed_s": 0.0},
    ]
    return [*log, *({"rollout": "r2", "at": "-", **e} for e in (*begun, *entries))]


GROWN = {"type": "grown", "port": 12, "elapsed_s": 5.0}


def test_a_rolling_release_replaces_one_server_a_step_and_runs_one_more_than_before() -> None:
    state = fold("m", rolling())
    assert state.servers == {"m-v1": (1, 2), "m-v2": (11,)}
    state = fold("m", rolling(GROWN))
    assert state.servers == {"m-v1": (1, 2), "m-v2": (11, 12)}
    assert state.arms["m-v2"].ports == (11,), "what is joining gets no request"
    second = {"type": "stepped", "step": 1, "weights": {"m-v1": 33, "m-v2": 67}, "elapsed_s": 9.0}
    third = {"type": "grown", "port": 13, "elapsed_s": 12.0}
    last = {"type": "switched", "step": 2, "weights": {"m-v1": 0, "m-v2": 100}, "elapsed_s": 15.0}
    state = fold("m", rolling(GROWN, second))
    assert state.servers == {"m-v1": (1,), "m-v2": (11, 12)}
    state = fold("m", rolling(GROWN, second, third, last))
    assert state.servers == {"m-v1": (1,), "m-v2": (11, 12, 13)}
    ended = [{"type": "aliased", "version": "2"}, {"type": "completed", "record": {}}]
    state = fold("m", rolling(GROWN, second, third, last, *ended))
    assert (state.stable, state.previous, state.draining) == ("m-v2", None, {"m-v1": "r2"})


@pytest.mark.parametrize("grown", [[], [GROWN]])
def test_a_rolling_release_that_is_rolled_back_gives_stable_all_its_servers_back(grown: list[Entry]) -> None:
    ended = {"type": "rolled_back", "reason": "errors", "record": {}, "elapsed_s": 9.0}
    state = fold("m", rolling(*grown, ended))
    assert state.servers == {"m-v1": (1, 2, 3), "m-v2": (11,)}
    assert (state.weights, state.draining) == ({"m-v1": 100, "m-v2": 0}, {"m-v2": "r2"})
