"""The smoke test: real requests to one arm, through the router, by the header that addresses it."""

from __future__ import annotations

import math
import time
from typing import Any

import httpx
import numpy as np

from serving.rollout.plan import Smoke
from serving.routing.router import ARM_HEADER
from serving.settings import Settings

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
    """Send the requests one after another; evidence as plain data, ``passed`` and ``reason`` included.

    Latencies are in ms, of answered requests. Stops early when too many failed for the plan, or after 30 s.
    """
    url = f"http://{settings.host}:{settings.envoy_port}/models/{model}/predict"
    allowed = math.floor(smoke.max_error_rate * smoke.requests)
    latencies: list[float] = []
    problems: list[str] = []
    end = time.monotonic() + TOTAL_SECONDS
    with httpx.Client(timeout=REQUEST_SECONDS) as client:
        for number in range(smoke.requests):
            headers = {ARM_HEADER: arm, "x-request-id": f"{ident}-smoke-{number}", "x-clearway-caller": "rollout-smoke"}
            start = time.perf_counter()
            try:
                response = client.post(url, json={"requests": [examples[number % len(examples)]]}, headers=headers)
                latencies.append((time.perf_counter() - start) * 1000)
                problem = problem_of(response, version)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                problems.append(problem)
            if len(problems) > allowed or time.monotonic() > end:
                break
    sent = number + 1
    p50, p95 = np.percentile(latencies, [50, 95]).tolist() if latencies else (None, None)
    reason = None
    if len(problems) > allowed:
        reason = f"{len(problems)} of {sent} smoke requests failed, {allowed} may: {problems[0]}"
    elif sent < smoke.requests:
        reason = f"only {sent} of {smoke.requests} smoke requests were answered in {TOTAL_SECONDS:.0f} s"
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
