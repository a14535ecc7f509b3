"""The smoke test of a plan, as a Job makes it: real requests straight to the new version's Service.

``python -m serving.runtime.kubernetes.smoke --kind tabular --url http://HOST:PORT --model M --version N --smoke JSON``
prints the evidence as JSON and exits with 1 when the version failed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

import httpx

from serving.rollout.plan import Smoke

REQUEST_SECONDS = 30.0


def _examples(client: httpx.Client, kind: str, url: str, smoke: Smoke) -> list[dict[str, Any]]:
    if smoke.examples:
        return list(smoke.examples)
    if kind == "llm":
        return [{"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}]
    fields = client.get(f"{url}/v1/spec").raise_for_status().json()["request"]
    return [{field["name"]: field["example"] for field in fields if field.get("example") is not None}]


def _problem(response: httpx.Response, kind: str, model: str, version: str) -> str | None:
    if kind == "llm":
        from serving.llm.probe import problem_of as of_completion

        return of_completion(response, model, "")
    from serving.rollout.smoke import problem_of as of_prediction

    return of_prediction(response, version)


def run(kind: str, url: str, model: str, version: str, smoke: Smoke) -> dict[str, Any]:
    """Send the requests one after another; evidence as plain data, ``passed`` and ``reason`` included.

    Args:
        kind: ``tabular`` or ``llm``.

    Returns:
        Latencies in ms, of whole answers.
    """
    allowed = math.floor(smoke.max_error_rate * smoke.requests)
    latencies: list[float] = []
    problems: list[str] = []
    sent = 0
    with httpx.Client(timeout=REQUEST_SECONDS) as client:
        try:
            examples = _examples(client, kind, url, smoke)
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            return {"requests": 0, "errors": 0, "p95_ms": None, "passed": False, "reason": f"no examples: {error}"}
        while sent < smoke.requests and len(problems) <= allowed:
            example = examples[sent % len(examples)]
            path = "/predict" if kind == "tabular" else "/v1/chat/completions"
            body = {"requests": [example]} if kind == "tabular" else {**example, "model": model, "stream": False}
            sent += 1
            start = time.perf_counter()
            try:
                response = client.post(url + path, json=body, headers={"x-clearway-caller": "rollout-smoke"})
                latencies.append((time.perf_counter() - start) * 1000)
                problem = _problem(response, kind, model, version)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                problems.append(problem)
    ordered = sorted(latencies)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else None
    reason = None
    if len(problems) > allowed:
        reason = f"{len(problems)} of {sent} smoke requests failed, {allowed} may: {problems[0]}"
    elif p95 is not None and p95 > smoke.p95_ms:
        reason = f"95th percentile of latency {p95:.1f} ms, at most {smoke.p95_ms:.1f} ms allowed"
    return {"requests": sent, "errors": len(problems), "p95_ms": p95, "passed": reason is None, "reason": reason}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("tabular", "llm"), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--smoke", default="{}", help="the plan's smoke section, as JSON")
    options = parser.parse_args()
    smoke = Smoke.model_validate_json(options.smoke)
    found = run(options.kind, options.url, options.model, options.version, smoke)
    print(json.dumps(found))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
