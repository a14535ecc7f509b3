"""What differs between a tabular model's server and a language model's, for whoever releases one.

The kind of a version is that of its artifact, which the registry's cache holds once a release has begun.
"""

from __future__ import annotations

from typing import Any

from serving.llm.spec import is_llm
from serving.models import registry
from serving.models.spec import read_spec
from serving.rollout.plan import ReleasePlan
from serving.settings import Settings


def readiness_problem(model: str, version: str, port: int, settings: Settings) -> str | None:
    """Why the server on ``port`` cannot answer users yet, or None. Of a language model it asks for a real token."""
    url = f"http://{settings.host}:{port}"
    if is_llm(registry.cache_folder(model, version, settings)):
        from serving.llm import probe

        return probe.readiness_problem(url, model)
    import httpx

    try:
        response = httpx.get(f"{url}/readyz", timeout=6)
        return None if response.status_code == 200 else str(response.json().get("reason"))
    except (httpx.HTTPError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def smoke_test(plan: ReleasePlan, arm: str, ident: str, settings: Settings) -> dict[str, Any]:
    """Real requests to one arm, through the router; evidence as :func:`serving.rollout.smoke.run_smoke` gives it."""
    folder = registry.cache_folder(plan.model, plan.version, settings)
    if is_llm(folder):
        from serving.llm import probe

        return probe.smoke(plan.model, arm, plan.version, plan.smoke, ident, settings)
    from serving.rollout.smoke import run_smoke

    examples = plan.smoke.examples or [read_spec(folder).examples()]
    return run_smoke(plan.model, arm, plan.version, plan.smoke, examples, ident, settings)


def origin(model: str, version: str, settings: Settings) -> dict[str, Any]:
    """What the version says of where it comes from: snapshots and training set, or base and adapter."""
    folder = registry.cache_folder(model, version, settings)
    if is_llm(folder):
        from serving.llm.spec import read_llm_spec

        return read_llm_spec(folder).model_dump(mode="json", exclude={"examples"})
    return read_spec(folder).metadata
