"""What is there to call: models with their versions, aliases, weights and request schema."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError
from serving.llm.spec import LLMSpec, is_llm, read_llm_spec
from serving.models import registry
from serving.models.spec import ModelSpec, read_spec
from serving.rollout.read import read_state, released_models
from serving.settings import Settings

CACHE_SECONDS = 2.0


def served_spec(model: str, settings: Settings) -> ModelSpec | None:
    """The spec of the version that a model's users get, or None before its first release completed."""
    state = read_state(model, settings)
    if state.stable is None:
        return None
    try:
        return read_spec(registry.cache_folder(model, state.arms[state.stable].version, settings))
    except ClearwayError:
        return None


def served_llm(model: str, settings: Settings) -> LLMSpec | None:
    """The same of a language model."""
    state = read_state(model, settings)
    if state.stable is None:
        return None
    folder = registry.cache_folder(model, state.arms[state.stable].version, settings)
    try:
        return read_llm_spec(folder) if is_llm(folder) else None
    except ClearwayError:
        return None


class Catalog:
    """Reads registry and rollout logs; answers are at most two seconds old. Blocking: call it in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._cached: tuple[float, dict[str, Any]] = (float("-inf"), {})

    def models(self) -> dict[str, Any]:
        """``{"models": [...], "registry_problem": None or why versions and aliases are missing}``.

        It is OpenAI's list of models as well: ``object`` and ``data`` hold those that speak its protocol.
        """
        with self._lock:
            read_at, content = self._cached
            if time.monotonic() - read_at > CACHE_SECONDS:
                content = self._read()
                self._cached = (time.monotonic(), content)
            return content

    def _read(self) -> dict[str, Any]:
        problem = None
        try:
            names = registry.model_names(self._settings)
            versions = {name: registry.versions(name, self._settings) for name in names}
        except registry.RegistryError as error:
            problem, versions = error.what, {}
        found: list[dict[str, Any]] = []
        for name in sorted({*versions, *released_models(self._settings)}):
            state = read_state(name, self._settings)
            spec, llm = served_spec(name, self._settings), served_llm(name, self._settings)
            found.append(
                {
                    "model": name,
                    "stable": state.arms[state.stable].version if state.stable else None,
                    "arms": [
                        {"arm": arm.name, "version": arm.version, "weight": state.weights.get(arm.name, 0)}
                        for arm in state.arms.values()
                    ],
                    "rollout": state.current,
                    "versions": [asdict(version) for version in versions.get(name, [])],
                    "positive_label": spec.positive_label if spec else None,
                    "request": [field.model_dump(mode="json") for field in spec.request] if spec else None,
                    "example": spec.examples() if spec else None,
                    "language_model": {"base": Path(llm.base).name, "context": llm.max_model_len} if llm else None,
                }
            )
        data = [_openai(model) for model in found if model["language_model"]]
        return {"models": found, "registry_problem": problem, "object": "list", "data": data}


def _openai(model: dict[str, Any]) -> dict[str, Any]:
    created = [version["created_at"] for version in model["versions"] if version["version"] == model["stable"]]
    return {
        "id": model["model"],
        "object": "model",
        "created": created[0] // 1000 if created else 0,
        "owned_by": "clearway",
        "max_model_len": model["language_model"]["context"],
    }
