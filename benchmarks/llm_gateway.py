"""What the gateway and the router add to an answer of a language model, whose server here answers at once.

``python -m benchmarks.llm_gateway PORT [PAUSE]`` is that server: a real one's own time would hide a millisecond. With
a pause, in seconds, it waits so long after each word of a stream.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.report import percentile
from serving.runtime.program import clearway_environment, free_port
from serving.settings import PROJECT, Settings

MODEL, ARM = "stub", "stub-v1"
WORDS = ("one", " two", " three", " four")
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 8}


def added(seconds: float, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by round: p50 of an answer at each station and, as differences, what each adds."""
    from serving.settings import get_settings

    settings = get_settings()
    found: dict[str, list[float]] = {}
    with chain(settings) as (direct, key):
        router = f"http://{settings.host}:{settings.envoy_port}/models/{MODEL}"
        stations = {"server": direct, "router": router, "gateway": settings.gateway_url}
        for _ in range(rounds):
            for stream in (False, True):
                p50 = {
                    name: asyncio.run(_ask(f"{url}/v1/chat/completions", key, stream, seconds))
                    for name, url in stations.items()
                }
                kind = ", streamed" if stream else ""
                for name, value in (
                    (f"the gateway adds, p50{kind}", p50["gateway"] - p50["router"]),
                    (f"the router adds, p50{kind}", p50["router"] - p50["server"]),
                    (f"an answer through both, p50{kind}", p50["gateway"]),
                ):
                    found.setdefault(name, []).append(value)
    return found


async def _ask(url: str, key: str, stream: bool, seconds: float) -> float:
    """Median milliseconds of whole answers, asked one after another."""
    import aiohttp

    taken: list[float] = []
    headers = {"authorization": f"Bearer {key}"}
    end = time.perf_counter() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:
        while time.perf_counter() < end:
            started = time.perf_counter()
            async with session.post(url, json={**BODY, "stream": stream}) as response:
                content = await response.read()
            taken.append(1000 * (time.perf_counter() - started))
            assert response.status == 200, content
    return percentile(taken[len(taken) // 10 :], 0.5)


@contextmanager
def chain(settings: Settings) -> Iterator[tuple[str, str]]:
    """The server's address and a key, with router and gateway before it."""
    import httpx

    from serving.gateway.keys import create_key
    from serving.routing.envoy import EnvoyRouter

    port = free_port()
    declare(settings, port)
    router = EnvoyRouter(settings)
    router.prepare()
    router.set_arms({ARM: f"{settings.host}:{port}"})
    router.set_weights(MODEL, {ARM: 100})
    environment = {**os.environ, **clearway_environment(settings)}
    commands = [
        router.command(),
        [sys.executable, "-m", "benchmarks.llm_gateway", str(port)],
        [sys.executable, "-m", "serving.gateway.app"],
    ]
    processes = [subprocess.Popen(command, cwd=PROJECT, env=environment) for command in commands]
    key = create_key("bench", ["predict"], settings)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                headers = {"authorization": f"Bearer {key}"}
                url = f"{settings.gateway_url}/v1/chat/completions"
                if httpx.post(url, json=BODY, headers=headers).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, "the chain does not answer"
            time.sleep(0.1)
        yield f"http://{settings.host}:{port}", key
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def declare(settings: Settings, port: int, model: str = MODEL, version: str = "1", arm: str = ARM) -> None:
    """Have the gateway know a language model, the stub or another, as released; its server listens on ``port``."""
    from serving.llm.spec import LLM_FILE, LLMSpec
    from serving.models.registry import cache_folder
    from serving.rollout.log import RolloutLog
    from serving.rollout.plan import ReleasePlan

    folder = cache_folder(model, version, settings)
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / LLM_FILE).write_text(LLMSpec(model=model, base="owner/name").model_dump_json())
    log, plan = RolloutLog(model, settings), ReleasePlan(model=model, version=version)
    log.append("submitted", "r1", plan=plan.model_dump(mode="json"), submitted_at="2024-01-01T00:00:00+00:00")
    log.append("starting", "r1", arm=arm, port=port)
    log.append("ready", "r1")
    log.append("smoked", "r1", evidence={"passed": True})
    log.append("switched", "r1", weights={arm: 100})
    log.append("aliased", "r1", alias="champion", version=version, was=None)
    log.append("completed", "r1", record={})


def main() -> None:
    import orjson
    from aiohttp import web

    usage = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}
    message = {"role": "assistant", "content": "".join(WORDS)}
    whole = orjson.dumps({"model": MODEL, "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
    parts: list[dict[str, Any]] = [
        *({"choices": [{"index": 0, "delta": {"content": word}}]} for word in WORDS),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    events = [b"data: " + orjson.dumps(part) + b"\n\n" for part in parts]
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0

    async def answer(request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        if not body.get("stream"):
            return web.Response(body=whole, content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in [*events, b"data: [DONE]\n\n"]:
            await response.write(event)
            if pause and b"content" in event:
                await asyncio.sleep(pause)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
