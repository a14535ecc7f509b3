"""Of the bench ``delivery``: an A/A rollout, and a version that begins to fail in the middle of its canary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from benchmarks import faulty_server
from benchmarks.delivery_router import same_artifact, stable_of, until
from benchmarks.serving import real_requests
from benchmarks.users import Target, Users
from serving.rollout.plan import ReleasePlan, Smoke, Step
from serving.rollout.state import Rollout
from serving.settings import Settings

PREDICTIONS_S = 60.0
PROMOTED_S, READY_S, LEAVES_S = 600.0, 120.0, 60.0
# As users' steady load before a release: the latency gate takes its quantile of these answers of stable.
BEFORE_S, SHORT_BEFORE_S = 20.0, 5.0
SMOKE = Smoke(p95_ms=500)
STEPS = (
    Step(weight=5, min_seconds=5),
    Step(weight=10, min_seconds=5),
    Step(weight=25, min_seconds=10),
    Step(weight=50, min_seconds=10),
    Step(weight=100),
)
# Stays at its second step until it is told to fail.
FAILING_STEPS = (Step(weight=5, min_seconds=5), Step(weight=10, min_seconds=300), Step(weight=50), Step(weight=100))


def at(rollout: Rollout, kind: str, step: int | None = None) -> float:
    """When the log says that it was so, seconds since the epoch."""
    entry = next(e for e in rollout.entries if e["type"] == kind and (step is None or e.get("step") == step))
    return datetime.fromisoformat(entry["at"]).timestamp()


def submitted_at(rollout: Rollout) -> float:
    """When somebody asked for it; the controller logs it a tick later."""
    return datetime.fromisoformat(rollout.entries[0]["submitted_at"]).timestamp()


def alike(rounds: int, quick: bool) -> list[dict[str, float]]:
    """Release the stable version's own artifact, under the default gates and under load, by round.

    Returns:
        ``promoted`` (1 or 0), ``lost`` requests; of a promoted one seconds ``in_all`` from the submission, and
        ``gated`` from the first step to the switch, and ``requests`` that the new version had answered by then.
    """
    from orchestration.home import local_key
    from serving.rollout.read import wait_for
    from serving.rollout.submit import submit
    from serving.settings import get_settings

    settings = get_settings()
    model, stable, requests = real_requests()
    versions = [same_artifact(model, stable, "a twin", settings), stable]
    url = f"{settings.gateway_url}/v1/predictions/{model}"
    found = []
    with Users(local_key(settings), [Target("prediction", url, requests, PREDICTIONS_S)]) as users:
        time.sleep(SHORT_BEFORE_S if quick else BEFORE_S)
        for number in range(rounds):
            began, version = time.time(), versions[number % 2]
            plan = ReleasePlan(
                model=model, version=version, strategy="canary", steps=STEPS, smoke=SMOKE, deadline_s=PROMOTED_S
            )
            rollout = wait_for(model, submit(plan, settings), PROMOTED_S + READY_S, settings, until_held=True)
            found.append({"promoted": float(rollout.phase == "completed"), "began": began, "ended": time.time()})
            if rollout.phase != "completed":
                break  # its arm may still be there, and what it came from is another stable than expected
            found[-1] |= {
                "in_all": at(rollout, "completed") - submitted_at(rollout),
                "gated": at(rollout, "switched") - at(rollout, "stepped"),
                "requests": next(e for e in rollout.entries if e["type"] == "switched")["evidence"]["new_requests"],
            }
    for one in found:
        began, ended = one.pop("began"), one.pop("ended")
        one["lost"] = float(sum(reply.lost for reply in users.replies if began <= reply.at < ended))
    return found


def failing(rounds: int, quick: bool) -> list[dict[str, float]]:
    """Canaries whose server begins to fail every request at 10%, by round.

    Returns:
        seconds from the first failed answer to the decision (``decided``), from the decision to the last request that
        reached the version (``after``, 0 when none did), from the first failed answer to that (``in_all``); failed
        answers of the version (``failed``) and those that users saw (``seen``). Of a version that left while it was
        sound, only ``early``.
    """
    from orchestration.home import local_key
    from serving.rollout.read import read_rollout
    from serving.rollout.submit import submit
    from serving.runtime.arms import PREFIX, arm_name
    from serving.settings import get_settings

    settings = get_settings()
    model, _, requests = real_requests()
    _, stable, _ = stable_of(model, settings)
    version = same_artifact(model, stable, "a version that will fail", settings)
    arm = arm_name(model, version)
    flag = faulty_server.flag(arm, settings)
    flag.parent.mkdir(exist_ok=True)
    url = f"{settings.gateway_url}/v1/predictions/{model}"
    found = []
    with one_faulty_arm(arm, settings) as supervisor:
        for _ in range(rounds):
            plan = ReleasePlan(model=model, version=version, strategy="canary", steps=FAILING_STEPS, smoke=SMOKE)
            with Users(local_key(settings), [Target("prediction", url, requests, PREDICTIONS_S)]) as users:
                time.sleep(SHORT_BEFORE_S)
                ident = submit(plan, settings)

                def rollout(ident: str = ident) -> Rollout:
                    now = read_rollout(model, ident, settings)
                    assert not now.done or now.phase == "rolled_back", now.phase
                    return now

                until("it is at 10%", lambda: rollout().percent == 10 or rollout().done, READY_S)
                time.sleep(3 if quick else 10)
                early = rollout().done
                flag.touch()
                until("it has left", lambda: rollout().done, LEAVES_S)
                time.sleep(3)  # requests that come late would be seen
            until("its process is gone", lambda: PREFIX + arm not in supervisor.status(), LEAVES_S, 0.2)
            found.append({"early": float(early)})
            if not early:
                failures, decided = faulty_server.failed(arm, settings), at(rollout(), "rolled_back")
                found[-1] |= {
                    "decided": decided - failures[0],
                    "after": max(0.0, failures[-1] - decided),
                    "in_all": failures[-1] - failures[0],
                    "failed": float(len(failures)),
                    "seen": float(sum(reply.lost for reply in users.replies)),
                }
            flag.unlink()
            flag.with_suffix(".failed").unlink(missing_ok=True)
    return found


@contextmanager
def one_faulty_arm(arm: str, settings: Settings) -> Iterator[Any]:
    """Serving whose controller starts this one arm as a server that can be told to fail."""
    from serving.runtime.laptop import CONTROLLER, start_serving
    from serving.runtime.program import Program, clearway_environment, python

    supervisor = start_serving(settings)
    command = python("benchmarks.faulty_server", "controller", arm)
    supervisor.add_program(Program(CONTROLLER, command, clearway_environment(settings), priority=200))
    try:
        yield supervisor
    finally:
        start_serving(settings)  # with its own controller
