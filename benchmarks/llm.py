"""vLLM's options on this machine, one server on one core at a time, and what the gateway adds to a request.

Needs ``make llm``. Client and server share the machine, so a second core is the client's.
"""

from __future__ import annotations

import asyncio
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.harness import LeftOut, World
from benchmarks.report import Row, percentile
from serving.errors import ClearwayError
from serving.settings import PROJECT

READY_S = 240.0
MODEL = "bench"
TOKENS = 48
AT_ONCE = (1, 4, 16)
MIB = 1 << 20


def measure(world: World) -> list[Row]:
    from serving.llm import paths
    from serving.llm.cpu import has_amx

    base = PROJECT / ".clearway" / "llm" / "models" / paths.declared()["model"]["name"]
    if not paths.interpreter().exists() or not (base / "model.safetensors").exists():
        raise LeftOut("vLLM is not installed", untouched="everything.", todo="make llm")
    home = world.home()
    seconds = 1.0 if world.quick else 6.0
    plain = {"max_num_seqs": 16, "prefix_caching": False}

    def of(name: str, kinds: list[str], **declared: Any) -> dict[str, Any]:
        world.say(f"a server: {name}")
        arguments = {"base": str(base), "kinds": kinds, "rounds": world.repeats(3), "declared": {**plain, **declared}}
        return dict(world.call(home, "benchmarks.llm:serve", **arguments).result)

    float32 = of("float32", ["batching", "prefix", "memory", "perplexity", "long"])
    serial = of("one sequence at a time", ["batching"], max_num_seqs=1)
    cached = of("prefix caching", ["prefix"], prefix_caching=True)
    small = of("a small cache", ["long"], kv_cache_bytes=96 * MIB)
    kinds = ["batching", "memory", "perplexity"]
    # With AMX vLLM computes INT8 weights in bfloat16 only, so what that brings by itself is measured too.
    short = of("bfloat16", kinds, dtype="bfloat16") if has_amx() else None
    int8 = of("INT8 weights", kinds, quantised=True, dtype="bfloat16" if has_amx() else "float32")
    rows: list[Row] = []

    def row(name: str, unit: str, mine: dict[str, Any], key: str, rival: str, other: dict[str, Any]) -> None:
        rows.append(Row(name, unit, tuple(mine[key]), rival, tuple(other[key])))

    for number in AT_ONCE:
        row(f"{number} at once, tokens a second", "1/s", float32, f"rate_{number}", "one sequence at a time", serial)
        row(f"{number} at once, first token p50", "ms", float32, f"ttft_{number}", "one sequence at a time", serial)
    row("shared 1k-token prompt, first token p50", "ms", cached, "prefix_ttft", "prefix caching off", float32)
    for label, found in (("bfloat16", short), ("INT8", int8)):
        if found is None:
            continue
        for number in AT_ONCE:
            row(f"{label}, {number} at once, tokens a second", "1/s", found, f"rate_{number}", "float32", float32)
        row(f"{label}, memory of the server", "MiB", found, "memory", "float32", float32)
        row(f"{label}, perplexity", "", found, "perplexity", "float32", float32)
    row("16 prompts of 1k tokens, 256 MiB cache", "1/s", float32, "long_rate", "96 MiB cache", small)
    row("16 prompts of 1k tokens, preemptions", "", float32, "preemptions", "96 MiB cache", small)
    for name, values in world.call(
        home, "benchmarks.llm_gateway:added", seconds=seconds, rounds=world.repeats(5)
    ).result.items():
        rows.append(Row(name, "ms", tuple(values), aim=2.0 if name == "the gateway adds, p50" else None))
    return rows


def serve(base: str, kinds: list[str], rounds: int, declared: dict[str, Any]) -> dict[str, list[float]]:
    """Start a server of a declaration, measure it, stop it; values by name, one a round."""
    from serving.llm import paths
    from serving.settings import get_settings

    settings = get_settings()
    if declared.pop("quantised", False):
        folder = settings.home / "llm" / "models" / "int8"
        if not folder.exists():
            script = PROJECT / "serving" / "llm" / "quantise.py"
            subprocess.run([str(paths.interpreter()), str(script), base, str(folder)], check=True)
        base = str(folder)
    found: dict[str, list[float]] = {}
    with server(base, declared) as (url, process):
        for _ in range(rounds):
            for kind in kinds:
                for name, value in KINDS[kind](url, process).items():
                    found.setdefault(name, []).append(value)
    return found


@contextmanager
def server(base: str, declared: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """A server that answers, as ``(url, pid)``; stopped by SIGTERM at the end."""
    from serving.llm import probe
    from serving.llm.register import register
    from serving.llm.spec import LLMSpec
    from serving.runtime.program import free_port
    from serving.settings import get_settings

    settings = get_settings()
    version = register(LLMSpec(model=MODEL, base=base, **declared), settings=settings, alias=None)
    port = free_port()
    command = [sys.executable, "-m", "serving.llm.launch", "--model", MODEL, "--version", version, "--port", str(port)]
    process = subprocess.Popen(command, cwd=PROJECT)
    url = f"http://{settings.host}:{port}"
    try:
        deadline = time.monotonic() + READY_S
        while (problem := probe.readiness_problem(url, MODEL)) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ClearwayError(f"the server is not ready: {problem}")
            time.sleep(0.5)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


async def _stream(session: Any, url: str, prompt: Any, tokens: int) -> tuple[float, int]:
    """(seconds to the first token, tokens) of one completion."""
    import orjson

    body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    started, first, count = time.perf_counter(), math.nan, 0
    async with session.post(f"{url}/v1/completions", json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if line.startswith(b"data: {"):
                count += len(orjson.loads(line[6:])["choices"])
                first = time.perf_counter() - started if count == 1 else first
    return first, count


def _together(url: str, prompts: list[Any], tokens: int) -> tuple[float, float]:
    """(tokens a second, median ms to the first token) of prompts sent at one time."""
    import aiohttp

    async def run() -> list[tuple[float, int]]:
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await asyncio.gather(*(_stream(session, url, prompt, tokens) for prompt in prompts))

    started = time.perf_counter()
    found = asyncio.run(run())
    elapsed = time.perf_counter() - started
    return sum(n for _, n in found) / elapsed, 1000 * percentile([t for t, _ in found], 0.5)


def _prompt(seed: int, tokens: int) -> list[int]:
    """Token ids, so that a length is exact; different seeds share no prefix."""
    return [1000 + (seed * 7919 + n * 104729) % 40000 for n in range(tokens)]


def batching(url: str, _: int) -> dict[str, float]:
    found = {}
    for at_once in AT_ONCE:
        prompts: list[Any] = [_prompt(at_once * 100 + n, 32) for n in range(at_once)]
        found[f"rate_{at_once}"], found[f"ttft_{at_once}"] = _together(url, prompts, TOKENS)
    return found


def prefix(url: str, _: int) -> dict[str, float]:
    """Eight requests, one after another, whose first thousand tokens are the same."""
    shared = _prompt(1, 1000)
    times = [_together(url, [shared + _prompt(number + 2, 16)], 2)[1] for number in range(9)]
    return {"prefix_ttft": percentile(times[1:], 0.5)}


def long(url: str, _: int) -> dict[str, float]:
    before = _counter(url, "vllm:num_preemptions_total")
    rate, _ttft = _together(url, [_prompt(n + 50, 1000) for n in range(16)], TOKENS)
    return {"long_rate": rate, "preemptions": _counter(url, "vllm:num_preemptions_total") - before}


def memory(_: str, pid: int) -> dict[str, float]:
    """Proportional set size of the server's processes: shared pages count once."""
    import psutil

    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {"memory": sum(process.memory_full_info().pss for process in processes) / MIB}


def perplexity(url: str, _: int) -> dict[str, float]:
    """Of this project's guides, a kilobyte at a time, by the model's own probability of each token."""
    import httpx

    text = "\n".join(path.read_text() for path in sorted((PROJECT / "docs").glob("*.md")))[:24_000]
    logs: list[float] = []
    for start in range(0, len(text), 3000):
        body = {"model": MODEL, "prompt": text[start : start + 3000], "max_tokens": 1, "prompt_logprobs": 0}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=120).json()
        for position in answer["choices"][0]["prompt_logprobs"][1:]:
            logs.append(next(iter(position.values()))["logprob"])
    return {"perplexity": math.exp(-sum(logs) / len(logs))}


def _counter(url: str, name: str) -> float:
    import httpx

    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


KINDS: dict[str, Callable[[str, int], dict[str, float]]] = {
    "batching": batching,
    "prefix": prefix,
    "long": long,
    "memory": memory,
    "perplexity": perplexity,
}
