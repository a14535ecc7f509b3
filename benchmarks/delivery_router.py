"""Of the bench ``delivery``: changes of weights under load, and what Envoy and the gateway add to an answer."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import llm_gateway
from benchmarks.report import percentile
from benchmarks.serving import READY_S, ask, real_requests, until_answered
from benchmarks.users import Reply, Target, Users
from serving.routing.config import RDS_FILE
from serving.routing.envoy import EnvoyRouter
from serving.settings import Settings

PREDICTIONS_S, STREAMS_S = 160.0, 40.0  # requests a second
WORD_PAUSE_S = 0.1  # a stream takes four times as long, so that changes meet streams that are under way
CHANGE_S = 1.05  # so that a hundred changes meet more than 20,000 requests
CHANGES_A_WINDOW = 10
WEIGHTS = (5, 10, 25, 50, 100, 0)


def stable_of(model: str, settings: Settings) -> tuple[str, str, int]:
    """(arm, version, port) of the stable version."""
    from serving.rollout.read import read_state

    state = read_state(model, settings)
    assert state.stable is not None
    arm = state.arms[state.stable]
    return arm.name, arm.version, arm.port


def same_artifact(model: str, version: str, name: str, settings: Settings) -> str:
    """Another registry version of a version's artifact, registered once for each ``name``."""
    from assets.training.tabular.register import client
    from serving.models import registry

    tag = f"{name}, of {version}"
    for known in registry.versions(model, settings):
        if known.tags.get("clearway.bench") == tag:
            return known.version
    mlflow = client(settings)
    original = mlflow.get_model_version(model, version)
    made = mlflow.create_model_version(model, original.source, original.run_id, tags={"clearway.bench": tag})
    return str(made.version)


def until(what: str, holds: Callable[[], bool], seconds: float, poll_s: float = 0.02) -> float:
    """Wait until ``holds``; seconds that it took."""
    started = time.perf_counter()
    while not holds():
        assert time.perf_counter() - started < seconds, f"not in {seconds:.0f} s: {what}"
        time.sleep(poll_s)
    return time.perf_counter() - started


def taken_by_envoy(router: EnvoyRouter) -> Callable[[], bool]:
    """Whether Envoy has the routes as they were last written, asked over one connection.

    ``EnvoyRouter.applied`` says it too, but makes a new client for each call, in 20 ms and more.
    """
    import httpx

    client, settings = httpx.Client(timeout=2), router.settings
    url = f"http://{settings.host}:{settings.envoy_admin_port}/stats?filter=rds.*version_text"

    def taken() -> bool:
        version = json.loads((router.folder / RDS_FILE).read_text())["version_info"]
        return version in client.get(url).text

    return taken


def change_weights(windows: int) -> dict[str, Any]:
    """Move the weights of a tabular model and of a stub of a language model, under load, in every other window.

    Returns:
        ``changing`` and ``still``: for each window, requests sent and lost, and milliseconds p50 and p99 of each kind;
        ``applied_ms``: from a change's beginning until Envoy has it; ``instead``: answers of stable for an arm that
        gave none; ``why``: what was got in the place of lost answers, and how often.
    """
    from orchestration.home import local_key
    from serving.settings import get_settings

    settings = get_settings()
    model, _, requests = real_requests()
    router, key = EnvoyRouter(settings), local_key(settings)
    taken = taken_by_envoy(router)
    targets = [
        Target("prediction", f"{settings.gateway_url}/v1/predictions/{model}", requests, PREDICTIONS_S),
        Target(
            "stream",
            f"{settings.gateway_url}/v1/chat/completions",
            [{**llm_gateway.BODY, "stream": True}],
            STREAMS_S,
            stream=True,
        ),
    ]
    applied: list[float] = []
    times: dict[str, list[tuple[float, float]]] = {"still": [], "changing": []}
    with two_arms_each(model, settings) as pairs:
        asyncio.run(_warm(targets[0], key))
        before = _answered_instead(settings)
        with Users(key, targets) as users:
            time.sleep(3)  # connections, and caches of files
            weights = itertools.cycle(WEIGHTS)
            for number in range(2 * windows):
                # still, changing, changing, still, ...: a machine that gets slower is no cost of either.
                kind = ("still", "changing", "changing", "still")[number % 4]
                began = time.time()
                for tick in range(CHANGES_A_WINDOW):
                    if kind == "changing":
                        weight, started = next(weights), time.perf_counter()
                        for name, (first, second) in pairs.items():
                            split = f"bench:{weight}" if 0 < weight < 100 else None
                            router.set_weights(name, {first: 100 - weight, second: weight}, split)
                        until("the router has the weights", taken, 10, 0.002)
                        applied.append(1000 * (time.perf_counter() - started))
                    time.sleep(max(0.0, began + (tick + 1) * CHANGE_S - time.time()))
                times[kind].append((began, time.time()))
        instead = _answered_instead(settings) - before
    lost = Counter(f"{reply.target}: {reply.status}" for reply in users.replies if reply.lost)
    found: dict[str, Any] = {"applied_ms": applied, "instead": instead, "why": dict(lost)}
    for kind, spans in times.items():
        found[kind] = [_window([r for r in users.replies if began <= r.at < end]) for began, end in spans]
    return found


async def _warm(target: Target, key: str) -> None:
    """See that a server that was started with the home is ready: what is measured is no start."""
    import orjson

    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    bodies = [orjson.dumps(body) for body in target.bodies]
    await until_answered(target.url, headers, bodies[0])
    await ask(target.url, headers, bodies, 8, 1.0)


def _window(replies: list[Reply]) -> dict[str, float]:
    found = {"sent": float(len(replies)), "lost": float(sum(reply.lost for reply in replies))}
    for target in ("prediction", "stream"):
        taken = [reply.ms for reply in replies if reply.target == target and not reply.lost]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            found[f"{target}_{name}"] = percentile(taken, share)
    return found


@contextmanager
def two_arms_each(model: str, settings: Settings) -> Iterator[dict[str, tuple[str, str]]]:
    """Two servers of the tabular model and two of a stub, routed; by model, the names of the arms.

    The controller is away meanwhile: it would set the weights that its logs say.
    """
    from serving.rollout import kinds
    from serving.runtime.arms import LocalArms, arm_name
    from serving.runtime.laptop import CONTROLLER, start_serving
    from serving.runtime.program import Program, clearway_environment, free_port, python

    supervisor, router = start_serving(settings), EnvoyRouter(settings)
    arms = LocalArms(supervisor)
    stable, version, _ = stable_of(model, settings)
    other_version = same_artifact(model, version, "a twin", settings)
    other, stub = arm_name(model, other_version), llm_gateway.MODEL
    supervisor.remove_program(CONTROLLER)
    weights, addresses = router.weights(), router.arms()
    ports: list[int] = []
    for _ in range(3):
        ports.append(free_port(taken=ports))
    stubs = (llm_gateway.ARM, f"{stub}-v2")
    log = settings.rollouts / stub
    try:
        llm_gateway.declare(settings, ports[0])
        arms.ensure(other, model, other_version, ports[2])
        for name, port in zip(stubs, ports, strict=False):
            command = python("benchmarks.llm_gateway", str(port), str(WORD_PAUSE_S))
            supervisor.add_program(Program(name, command, clearway_environment(settings)))
        ready = lambda: kinds.readiness_problem(model, other_version, ports[2], settings) is None  # noqa: E731
        until("the second server is ready", ready, READY_S, 0.2)
        new = {name: f"{settings.host}:{port}" for name, port in zip((*stubs, other), ports, strict=True)}
        router.set_arms({**addresses, **new})
        router.set_weights(stub, {stubs[0]: 100, stubs[1]: 0})
        router.set_weights(model, {stable: 100, other: 0})
        until("the router has the arms", router.applied, 10)
        yield {model: (stable, other), stub: stubs}
    finally:
        router.set_weights(stub, {})
        router.set_weights(model, weights[model])
        router.set_arms(addresses)
        shutil.rmtree(log, ignore_errors=True)
        for name in stubs:
            supervisor.remove_program(name)
        if other not in addresses:
            arms.remove(other)
        start_serving(settings)  # with its controller


def _answered_instead(settings: Settings) -> float:
    """Requests that the gateway had stable answer, because the arm that was drawn did not."""
    import httpx

    lines = httpx.get(f"{settings.gateway_url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if "fallbacks_total{" in line)


def stations(rounds: int, seconds: float) -> list[dict[str, float]]:
    """Milliseconds, p50 and p99, of predictions asked one after another at the server, at Envoy and at the gateway."""
    import orjson

    from orchestration.home import local_key
    from serving.settings import get_settings

    settings = get_settings()
    model, _, requests = real_requests()
    *_, port = stable_of(model, settings)
    headers = {"content-type": "application/json", "authorization": f"Bearer {local_key(settings)}"}
    bare = [orjson.dumps({"requests": [request]}) for request in requests]
    asked = {
        "server": (f"http://{settings.host}:{port}/predict", bare),
        "envoy": (f"http://{settings.host}:{settings.envoy_port}/models/{model}/predict", bare),
        "gateway": (f"{settings.gateway_url}/v1/predictions/{model}", [orjson.dumps(r) for r in requests]),
    }

    async def all_rounds() -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        for url, bodies in asked.values():
            await until_answered(url, headers, bodies[0])
            await ask(url, headers, bodies, 8, 1.0)
        for _ in range(rounds):
            found.append({})
            for station, (url, bodies) in asked.items():
                taken, _ = await ask(url, headers, bodies, 1, seconds)
                for name, share in (("p50", 0.5), ("p99", 0.99)):
                    found[-1][f"{station}_{name}"] = 1000 * percentile(taken, share)
        return found

    return asyncio.run(all_rounds())
