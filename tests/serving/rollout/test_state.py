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
    assert state.arms == {"m-v2": Arm("m-v2", "2", 2), "m-v3": Arm("m-v3", "3", 3)}
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
    state = fold("m", [*release("1", 1), *release("2", 2, others=["m-v1"], keep_previous=False)])
    assert (list(state.arms), state.weights, state.previous) == (["m-v2"], {"m-v2": 100}, None)


def test_an_arm_that_moved_has_its_new_port_and_an_unknown_entry_is_refused() -> None:
    log = release("1", 1)
    state = fold("m", [*log, {"type": "arm_moved", "rollout": "", "arm": "m-v1", "port": 7}])
    assert state.arms["m-v1"].port == 7
    with pytest.raises(ValueError, match="unknown type of entry 'teleported'"):
        fold("m", [*log, {"type": "teleported", "rollout": "r1"}])
