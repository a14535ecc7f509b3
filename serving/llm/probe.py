"""What an LLM arm is asked by its owner: is it ready, does it answer sensibly, does it still answer somebody.

vLLM's /health is not enough: a server whose weights its kernels cannot use passes it and dies at the first request. So
ready means that a token was really made.
"""

from __future__ import annotations

from typing import Any

import httpx

from serving.llm.spec import read_llm_spec
from serving.models import registry
from serving.rollout.plan import Smoke
from serving.rollout.smoke import ask_all
from serving.routing.router import ARM_HEADER
from serving.settings import Settings

REQUEST_SECONDS, TOTAL_SECONDS = 30.0, 120.0


def readiness_problem(url: str, model: str, timeout_s: float = 10.0) -> str | None:
    """Why the server at ``url`` (``http://host:port``) cannot answer for ``model``; None when it just did."""
    try:
        with httpx.Client(timeout=timeout_s) as client:
            health = client.get(f"{url}/health")
            if health.status_code != 200:
                return f"/health answers {health.status_code}"
            body = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
            answer = client.post(f"{url}/v1/completions", json=body)
            if answer.status_code != 200:
                return f"a completion answers {answer.status_code}: {answer.text[:200]}"
            made = int(answer.json()["usage"]["completion_tokens"])
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    except (ValueError, KeyError, TypeError) as error:
        return f"the answer is no completion: {error}"
    return None if made > 0 else "a completion came back without a token"


def problem_of(response: httpx.Response, model: str, arm: str) -> str | None:
    """What is wrong with an answer to one smoke request, or None."""
    if response.status_code != 200:
        return f"HTTP {response.status_code}: {response.text[:300]}"
    answered_by = response.headers.get(ARM_HEADER, arm)
    if answered_by != arm:
        return f"answered by arm {answered_by}"
    try:
        content = response.json()
        text = content["choices"][0]["message"]["content"]
        tokens = int(content["usage"]["completion_tokens"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"the answer is no chat completion: {type(error).__name__}: {error}"
    if content.get("model") != model:
        return f"answered by model {content.get('model')!r}"
    return None if tokens > 0 and isinstance(text, str) and text.strip() else "the answer is empty"


def smoke(model: str, arm: str, version: str, smoke: Smoke, ident: str, settings: Settings) -> dict[str, Any]:
    """Real chat completions to one arm, through the router; evidence as :func:`serving.rollout.smoke.ask_all` gives it.

    The plan's examples are bodies of ``/v1/chat/completions``; without any, the version's own are sent. Latencies are
    of whole answers.

    Raises:
        ClearwayError: the version's ``llm.json`` cannot be read.
    """
    spec = read_llm_spec(registry.cache_folder(model, version, settings))
    bodies = [{**example, "model": model, "stream": False} for example in smoke.examples or spec.examples]
    url = f"http://{settings.host}:{settings.envoy_port}/models/{model}/v1/chat/completions"
    with httpx.Client(timeout=REQUEST_SECONDS) as client:
        return ask_all(client, url, bodies, arm, smoke, ident, lambda r: problem_of(r, model, arm), TOTAL_SECONDS)
