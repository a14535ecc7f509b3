"""A prediction through gateway and Envoy, against its model server asked directly and against the bare model.

The client, the gateway, the router and the model server share this machine's cores, so the requests a second are
those of the whole chain with its client, not of the server alone.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from benchmarks.harness import World
from benchmarks.report import Row, percentile

CONCURRENCY = (1, 8, 32)
DIRECT, BARE = "model server directly", "model.predict on ready features"
ENTITIES = 400
READY_S = 120.0


def measure(world: World) -> list[Row]:
    home = world.released()
    rounds = world.call(home, "benchmarks.serving:load", rounds=world.repeats(7), seconds=1.0 if world.quick else 4.0)
    bare = world.call(home, "benchmarks.serving:predict", rounds=world.repeats(7)).result
    found = rounds.result

    def of(target: str, at_once: int, what: str) -> tuple[float, ...]:
        return tuple(r[what] for r in found if (r["target"], r["at_once"]) == (target, at_once))

    rows = []
    for at_once in CONCURRENCY:
        for what, unit, name in (("p50", "ms", "p50"), ("p99", "ms", "p99"), ("rate", "1/s", "requests a second")):
            values, rival = of("gateway", at_once, what), of("direct", at_once, what)
            rows.append(Row(f"gateway, {at_once} at once, {name}", unit, values, DIRECT, rival))
    for target, name in (("gateway", "gateway"), ("direct", "model server")):
        for what in ("p50", "p99"):
            rows.append(
                Row(f"{name}, 1 at once, {what}", "ms", of(target, 1, what), BARE, tuple(b[what] for b in bare))
            )
    return rows


def real_requests() -> tuple[str, str, list[dict[str, Any]]]:
    """The model, its stable version, and requests for real, different entities of the newest month."""
    import pandas as pd

    from assets.features.training_set import read_examples
    from assets.warehouse.manifest import load_manifest
    from benchmarks.stages import Stages
    from serving import clock
    from serving.rollout.read import read_state

    stages = Stages()
    domain, settings = stages.domain, stages.settings
    model = next(iter(domain.models.values()))
    schema = load_manifest(domain.dbt_project, settings.dbt_target).models[model.examples.model].schema
    start, end = domain.periods[-1], domain.declared.partitions.end
    examples = read_examples(model, settings.warehouse_file, schema, start, end, clock.now())
    examples = examples[[f.name for f in model.request]].sample(ENTITIES, random_state=7)
    requests: list[dict[str, Any]] = []
    for row in examples.to_dict("records"):
        filled = {str(k): v for k, v in row.items() if not pd.isna(v)}
        requests.append({k: v.isoformat() if isinstance(v, pd.Timestamp) else v for k, v in filled.items()})
    state = read_state(model.name, settings)
    assert state.stable is not None
    return model.name, state.arms[state.stable].version, requests


def load(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Ask both targets in turn, at each concurrency; p50 and p99 in ms and requests a second of each round."""
    import orjson

    from orchestration.home import local_key
    from serving.rollout.read import read_state
    from serving.settings import get_settings

    settings = get_settings()
    model, _, requests = real_requests()
    state = read_state(model, settings)
    assert state.stable is not None
    direct = f"http://{settings.host}:{state.arms[state.stable].port}/predict"
    headers = {"content-type": "application/json", "authorization": f"Bearer {local_key(settings)}"}
    targets = {
        "gateway": (f"{settings.gateway_url}/v1/predictions/{model}", [orjson.dumps(r) for r in requests]),
        "direct": (direct, [orjson.dumps({"requests": [r]}) for r in requests]),
    }

    async def all_rounds() -> list[dict[str, Any]]:
        found = []
        for url, bodies in targets.values():
            await until_answered(url, headers, bodies[0])
            await ask(url, headers, bodies, 8, 1.0)  # connections, and caches of files
        for _ in range(rounds):
            for at_once, (target, (url, bodies)) in itertools.product(CONCURRENCY, targets.items()):
                taken, elapsed = await ask(url, headers, bodies, at_once, seconds)
                found.append(
                    {
                        "target": target,
                        "at_once": at_once,
                        "p50": 1000 * percentile(taken, 0.5),
                        "p99": 1000 * percentile(taken, 0.99),
                        "rate": len(taken) / elapsed,
                    }
                )
        return found

    return asyncio.run(all_rounds())


async def until_answered(url: str, headers: dict[str, str], body: bytes) -> None:
    """Wait for a server that was started a moment ago and is still loading its version."""
    import aiohttp

    deadline = time.perf_counter() + READY_S
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.post(url, data=body) as response:
                content = await response.read()
            if response.status == 200:
                return
            assert time.perf_counter() < deadline, content
            await asyncio.sleep(0.2)


async def ask(
    url: str, headers: dict[str, str], bodies: list[bytes], at_once: int, seconds: float
) -> tuple[list[float], float]:
    """Seconds of every request of a closed loop, and of the whole; a request that is refused ends the bench."""
    import aiohttp

    taken: list[float] = []
    turn = itertools.cycle(bodies)
    began = time.perf_counter()
    async with aiohttp.ClientSession(headers=headers) as session:

        async def worker() -> None:
            while time.perf_counter() - began < seconds:
                started = time.perf_counter()
                async with session.post(url, data=next(turn)) as response:
                    content = await response.read()
                taken.append(time.perf_counter() - started)
                assert response.status == 200, content

        await asyncio.gather(*(worker() for _ in range(at_once)))
    return taken, time.perf_counter() - began


def predict(rounds: int) -> list[dict[str, float]]:
    """Milliseconds, p50 and p99, of the model on one row whose features are there, by round."""
    from serving.models.features import OnlineFeatures
    from serving.models.inputs import RowDeriver
    from serving.models.model import TabularModel
    from serving.models.registry import resolve
    from serving.models.requests import RequestReader
    from serving.settings import get_settings

    settings = get_settings()
    name, version, requests = real_requests()
    model = TabularModel.load(resolve(name, version, settings))
    rows, deriver = RequestReader(model.spec).read(requests), RowDeriver(model.spec)
    assert model.spec.feature_service is not None
    features = OnlineFeatures(model.spec.feature_service, settings).read([deriver.keys(row) for row in rows])
    matrix = deriver.derive(rows, [row.values for row in features])
    found = []
    for _ in range(rounds + 1):
        taken = []
        for number in range(len(matrix)):
            started = time.perf_counter()
            model.predict_proba(matrix[number : number + 1])
            taken.append(1000 * (time.perf_counter() - started))
        found.append({"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)})
    return found[1:]
