"""The smoke test: real requests to one arm, through the router, by the header that addresses it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np

from serving.rollout.plan import Smoke
from serving.routing.router import ARM_HEADER
from serving.settings import Settings

# By this name its requests are told from people's.
CALLER = "rollout-smoke"
REQUEST_SECONDS, TOTAL_SECONDS = 5.0, 30.0


def problem_of(response: httpx.Response, version: str) -> str | None:
    """What is wrong with an answer to one smoke request, or None."""
    if response.status_code != 200:
        return f"HTTP {response.status_code}: {response.text[:300]}"
    try:
        content = response.json()
        (prediction,) = content["predictions"]
        probability = float(prediction["probability"])
    except (ValueError, KeyError, TypeError) as error:
        return f"the answer is not a prediction: {error}"
    if not (math.isfinite(probability) and 0 <= probability <= 1):
        return f"the probability is {probability}"
    return None if str(content["version"]) == version else f"answered by version {content['version']}"


def run_smoke(model: str, arm: str, version: str, smoke: Smoke, examples: list[dict[str, Any]], ident: str,
              settings: Settings) -> dict[str, Any]:  # fmt: skip
    """Send the requests one after another; evidence as :func:`ask_all` gives it."""
    url = f"http://{settings.host}:{settings.envoy_port}/models/{model}/predict"
    bodies = [{"requests": [example]} for example in examples]
    with httpx.Client(timeout=REQUEST_SECONDS) as client:
        return ask_all(client, url, bodies, arm, smoke, ident, lambda r: problem_of(r, version), TOTAL_SECONDS)


def ask_all(
    client: httpx.Client,
    url: str,
    bodies: Sequence[dict[str, Any]],
    arm: str,
    smoke: Smoke,
    ident: str,
    problem: Callable[[httpx.Response], str | None],
    total_s: float,
) -> dict[str, Any]:
    """Send as many requests as the plan says, in turn, to one arm; plain data, ``passed`` and ``reason`` included.

    Latencies are in ms, of answered requests. Stops early when too many failed for the plan, or after ``total_s``.

    Args:
        problem: what is wrong with an answer, or None.
    """
    allowed = math.floor(smoke.max_error_rate * smoke.requests)
    latencies: list[float] = []
    problems: list[str] = []
    sent, end = 0, time.monotonic() + total_s
    while sent < smoke.requests and len(problems) <= allowed and time.monotonic() < end:
        headers = {ARM_HEADER: arm, "x-request-id": f"{ident}-smoke-{sent}", "x-clearway-caller": CALLER}
        body = bodies[sent % len(bodies)]
        sent += 1
        start = time.perf_counter()
        try:
            response = client.post(url, json=body, headers=headers)
            latencies.append((time.perf_counter() - start) * 1000)
            found = problem(response)
        except httpx.HTTPError as error:
            found = f"{type(error).__name__}: {error}"
        if found is not None:
            problems.append(found)
    p50, p95 = np.percentile(latencies, [50, 95]).tolist() if latencies else (None, None)
    reason = None
    if len(problems) > allowed:
        reason = f"{len(problems)} of {sent} smoke requests failed, {allowed} may: {problems[0]}"
    elif sent < smoke.requests:
        reason = f"only {sent} of {smoke.requests} smoke requests were answered in {total_s:.0f} s"
    elif p95 is not None and p95 > smoke.p95_ms:
        reason = f"95th percentile of latency {p95:.1f} ms, at most {smoke.p95_ms:.1f} ms allowed"
    return {
        "requests": sent,
        "errors": len(problems),
        "first_error": problems[0] if problems else None,
        "p50_ms": p50,
        "p95_ms": p95,
        "passed": reason is None,
        "reason": reason,
    }
