"""``python -m benchmarks.picture FILE``: draws a simulated rollout of a version that begins to fail after 130 s."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from assets.delivery.timeline import draw
from serving.rollout.decide import decide
from serving.rollout.evaluate import Evaluation
from serving.rollout.observations import Observation
from serving.rollout.plan import parse_plan
from serving.rollout.state import Rollout

PER_SECOND, FAILS_FROM, SHARE = 10, 130, 0.2


def simulate(seed: int = 1) -> tuple[Rollout, list[dict[str, Any]]]:
    """The rollout and its timeline, a point a second, until it is decided."""
    plan = parse_plan({"model": "arrival_delay", "version": "7", "strategy": "canary"}, "the picture's plan")
    rollout = Rollout("simulated", plan.model, plan.version, "rolled_back", plan.model_dump(mode="json"))
    evaluation, rng = Evaluation(plan, rollout.id, "new"), random.Random(seed)
    timeline: list[dict[str, Any]] = []
    step = began = second = 0
    while True:
        percent = plan.steps[step].weight
        for number in range(PER_SECOND):
            new = rng.random() < percent / 100
            failed = new and second >= FAILS_FROM and rng.random() < SHARE
            measures = {"latency_ms": rng.lognormvariate(2, 0.3), "refused": 0.0}
            at = second + number / PER_SECOND
            arm = "new" if new else "stable"
            evaluation.take(
                [Observation(at, str(at), plan.model, arm, 500 if failed else 200, rollout.id, percent, measures)]
            )
        second += 1
        look = evaluation.look()
        timeline.append({"elapsed_s": second, "percent": percent, **look.as_json()})
        action = decide(plan, step, second - began, second, None, look).action
        if action == "advance":
            step, began = step + 1, second
        elif action in ("roll_back", "promote", "hold"):
            assert action == "roll_back", action
            rollout.entries = [{"type": "rolled_back", "elapsed_s": float(second)}]
            return rollout, timeline


def main() -> None:
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/rollout.png")
    file.write_bytes(draw(*simulate()))
    print(file)


if __name__ == "__main__":
    main()
