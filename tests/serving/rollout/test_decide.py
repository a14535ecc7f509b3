"""What a rollout does next follows from its plan and from what its gates say, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serving.rollout.decide import decide
from serving.rollout.evaluate import GateLook, Look
from serving.rollout.plan import parse_plan

PLAN = parse_plan(
    {"model": "wilting", "version": "2", "strategy": "canary", "steps": [{"weight": 10, "min_seconds": 30}, 50, 100],
     "gates": {"latency": [], "scalars": []}, "deadline_s": 600},
    "the test's plan",
)  # fmt: skip
FINE = GateLook(rollback=0.2, promote=30, new=0.0, stable=0.0, new_count=200, stable_count=900)


def look(combined: float = 0.2, ratio: float = 1.0, count: int = 200, **gate: Any) -> Look:
    gates = {"errors": replace(FINE, **gate)}
    return Look(gates, combined, ratio, count, 900, {10: min(count, 50), 50: count})


@pytest.mark.parametrize(
    ("step", "seconds", "elapsed", "stopped", "seen", "action", "words"),
    [
        (0, 29, 29, None, look(), "wait", "10% lasts 30 s, 29 so far"),
        (0, 31, 31, None, look(count=19), "wait", "10% needs 20 requests on the new version, 19 so far"),
        (0, 31, 31, None, look(), "advance", "10% for 31 s without evidence of harm"),
        (0, 31, 601, None, look(count=19), "hold", "undecided after 601 s: 10% needs 20"),
        (1, 0, 61, None, look(), "promote", "all gates are within their margins after 200 requests"),
        (1, 99, 99, None, look(count=99), "wait", "has answered 99 of 100 requests"),
        (1, 99, 99, None, look(promote=19), "wait", "gate errors: evidence 19 of 20"),
        (1, 99, 99, None, look(promote=1, new_count=0, stable_count=0), "wait", "no request reported a value"),
        (1, 99, 99, None, look(promote=1, stable_count=0), "wait", "only one of the versions reported"),
        (1, 99, 601, None, look(promote=19), "hold", "undecided after 601 s"),
        (0, 1, 1, None, look(combined=100, new=0.5), "roll_back", "gate errors: 0.5 on the new version against 0 on"),
        (0, 1, 1, None, look(combined=99.9), "wait", "lasts 30 s"),
        (0, 99, 99, None, look(ratio=1000), "hold", "the split is not the declared one"),
        (1, 99, 99, None, look(ratio=1000), "hold", "the split is not the declared one"),
        (1, 99, 99, "paused: lunch", look(), "wait", "paused: lunch"),
        (1, 99, 9999, "held: undecided", look(promote=1), "wait", "held: undecided"),
        (1, 99, 99, "paused: lunch", look(combined=200), "roll_back", "gate errors"),
        (1, 99, 99, None, look(combined=200, promote=99), "roll_back", "limit 100"),
    ],
)  # fmt: skip
def test_next(
    step: int, seconds: float, elapsed: float, stopped: str | None, seen: Look, action: str, words: str
) -> None:
    decision = decide(PLAN, step, seconds, elapsed, stopped, seen)
    assert decision.action == action
    assert words in decision.why
