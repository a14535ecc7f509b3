"""Of the bench ``delivery``: the declared language model under real vLLM, a canary to 100% and one that is aborted."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from benchmarks.delivery_canaries import at, submitted_at
from benchmarks.delivery_router import taken_by_envoy, until
from benchmarks.harness import LeftOut
from benchmarks.users import Target, Users
from serving.rollout.state import Rollout
from serving.settings import PROJECT, Settings

CHATS_S = 2.0
READY_S, PROMOTED_S, GONE_S = 300.0, 900.0, 120.0
ABORT_AFTER_S = 5.0


def refuse_unless_installed() -> None:
    """Raises LeftOut without vLLM or its model."""
    from serving.llm import paths

    base = PROJECT / ".clearway" / "llm" / "models" / paths.declared()["model"]["name"]
    if not paths.interpreter().exists() or not (base / "model.safetensors").exists():
        raise LeftOut("vLLM is not installed", untouched="everything.", todo="make llm")


def link_models(settings: Settings) -> None:
    """Give a temporary home the models that ``make llm`` prepared."""
    from serving.llm import paths

    models = paths.models(settings)
    models.parent.mkdir(parents=True, exist_ok=True)
    if not models.exists():
        models.symlink_to(PROJECT / ".clearway" / "llm" / "models")


def steps(rounds: int) -> dict[str, list[float]]:
    """Release a first version, then by round: a canary to 100% and, back to the version before, one that is aborted.

    Returns:
        seconds of each step by name, one a round; ``lost``: chats that were not answered whole, of ``sent``;
        ``not promoted``: 1 for a canary that did not get to 100%, which is the last then.
    """
    from assets.delivery.demonstration import chats, llm_versions
    from assets.domains import current_domain
    from orchestration.home import local_key, prepare
    from serving.rollout.plan import ReleasePlan, Smoke
    from serving.rollout.read import wait_for
    from serving.rollout.submit import submit
    from serving.runtime.laptop import start_serving
    from serving.settings import get_settings

    settings = get_settings()
    prepare(settings)
    link_models(settings)
    folder = current_domain().folder
    declared = sorted((folder / "llms").glob("*.yaml"))[0]
    model, plan_file = declared.stem, folder / "releases" / f"{declared.stem}_canary.yaml"
    # Before the gateway looks into the registry: two processes that open a new one both set its database up, and fail.
    (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
    versions = llm_versions(declared, settings)
    start_serving(settings)
    plan = ReleasePlan(
        model=model, version=versions["first"][0], smoke=Smoke(requests=3, p95_ms=20_000), ready_timeout_s=240
    )
    first = wait_for(model, submit(plan, settings), READY_S, settings)
    assert first.phase == "completed", first.reason
    found: dict[str, list[float]] = defaultdict(list)
    target = Target("chat", f"{settings.gateway_url}/v1/chat/completions", chats(model), CHATS_S, stream=True)
    stable, other = versions["first"][0], versions["sound"][0]
    for _ in range(rounds):
        with Users(local_key(settings), [target]) as users:
            time.sleep(5)
            taken = _to_the_end(model, other, plan_file, settings)
            if taken is not None:
                taken |= _aborted(model, stable, plan_file, settings)
            time.sleep(2)
        for name, seconds in (taken or {}).items():
            found[name].append(seconds)
        found["not promoted"].append(float(taken is None))
        found["sent"].append(float(len(users.replies)))
        found["lost"].append(float(sum(reply.lost for reply in users.replies)))
        if taken is None:
            break
        stable, other = other, stable
    return found


def _begin(model: str, version: str, plan_file: Any, settings: Settings) -> str:
    """Submit the declared canary. The replaced version goes by it: the machine has cores for two servers."""
    from serving.rollout.plan import read_plan
    from serving.rollout.submit import submit

    plan = read_plan(plan_file, version=version, keep_previous=False, requested_by="benchmarks", reason="to measure")
    return submit(plan, settings)


def _to_the_end(model: str, version: str, plan_file: Any, settings: Settings) -> dict[str, float] | None:
    """Seconds of each step of a canary, and until the server before it is gone; None when it is not promoted."""
    from serving.rollout.read import read_state, wait_for
    from serving.runtime.arms import PREFIX
    from serving.runtime.supervisor import Supervisor

    before = read_state(model, settings).stable
    ident = _begin(model, version, plan_file, settings)
    rollout = wait_for(model, ident, READY_S + PROMOTED_S, settings, until_held=True)
    if rollout.phase != "completed":
        print(f"not promoted: {rollout.stopped or rollout.reason}")
        return None
    supervisor = Supervisor(settings)
    until("the version before is gone", lambda: f"{PREFIX}{before}" not in supervisor.status(), GONE_S, 0.1)
    return {**_seconds(rollout), "old server gone": time.time() - at(rollout, "completed")}


def _seconds(rollout: Rollout) -> dict[str, float]:
    """Of each step, from the log: the name is what ends it, or at which weight it passes."""
    moments = [("submitted", submitted_at(rollout))]
    weights = [step["weight"] for step in rollout.plan["steps"]]
    for entry in rollout.entries:
        if entry["type"] in ("starting", "ready", "smoked", "stepped", "switched", "completed"):
            name = f"at {weights[entry['step']]}%" if entry["type"] == "stepped" else entry["type"]
            moments.append((name, at(rollout, entry["type"], entry.get("step"))))
    found = {}
    for (name, began), (following, ended) in pairwise(moments):
        found[name if name.startswith("at ") else f"{name} to {following}"] = ended - began
    return {**found, "in all": moments[-1][1] - moments[0][1]}


def _aborted(model: str, version: str, plan_file: Any, settings: Settings) -> dict[str, float]:
    """Seconds of a rollback that a person demands at the first step, each from the command on."""
    from serving.rollout import commands
    from serving.rollout.read import read_rollout
    from serving.routing.envoy import EnvoyRouter
    from serving.runtime.arms import PREFIX, arm_name
    from serving.runtime.supervisor import Supervisor

    arm, router, supervisor = arm_name(model, version), EnvoyRouter(settings), Supervisor(settings)
    taken, ident = taken_by_envoy(router), _begin(model, version, plan_file, settings)

    def rollout() -> Rollout:
        return read_rollout(model, ident, settings)

    until("it is at its first step", lambda: rollout().percent is not None or rollout().done, READY_S)
    time.sleep(ABORT_AFTER_S)
    assert rollout().percent is not None, rollout().reason
    sent = time.time()
    commands.send(model, "abort", "benchmarks", "to measure the way back", settings)

    gone: list[float] = []

    def watch() -> None:
        until("its process is gone", lambda: PREFIX + arm not in supervisor.status(), GONE_S, 0.1)
        gone.append(time.time())

    watcher = threading.Thread(target=watch)
    watcher.start()
    until("Envoy sends it nothing", lambda: not router.weights()[model].get(arm) and taken(), GONE_S, 0.01)
    without = time.time()
    watcher.join()
    assert gone, "its process is still there"
    return {
        "abort to logged": at(rollout(), "rolled_back") - sent,
        "abort to weight 0": without - sent,
        "abort to server gone": gone[0] - sent,
    }
