"""What is there to call: models with their versions, aliases, weights and request schema."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import Any

from serving.errors import ClearwayError
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


class Catalog:
    """Reads registry and rollout logs; answers are at most two seconds old. Blocking: call it in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._cached: tuple[float, dict[str, Any]] = (float("-inf"), {})

    def models(self) -> dict[str, Any]:
        """``{"models": [...], "registry_problem": None or why versions and aliases are missing}``."""
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
        found = []
        for name in sorted({*versions, *released_models(self._settings)}):
            state = read_state(name, self._settings)
            spec = served_spec(name, self._settings)
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
                }
            )
        return {"models": found, "registry_problem": problem}
