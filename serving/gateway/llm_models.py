"""Which language models are served, what their versions declare and which arm is stable: from log and local cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from serving.errors import ClearwayError
from serving.llm.spec import LLMSpec, is_llm, read_llm_spec
from serving.models import registry
from serving.rollout.log import RolloutLog
from serving.rollout.read import read_state
from serving.rollout.state import ModelState
from serving.settings import Settings


@dataclass(frozen=True)
class Served:
    """A language model as its rollout log has it; ``spec`` is the stable version's."""

    state: ModelState
    spec: LLMSpec

    @property
    def stable(self) -> str:
        assert self.state.stable is not None
        return self.state.stable

    @property
    def split(self) -> str | None:
        """The split that traffic follows now, as the router would name it on an answer."""
        rollout = self.state.running
        return f"{rollout.id}:{rollout.percent}" if rollout is not None and rollout.percent is not None else None

    def version(self, arm: str | None) -> str | None:
        """Registry version of an arm that the log still knows."""
        found = self.state.arms.get(arm or "")
        return found.version if found else None


class ServedModels:
    """Reads a model's log when it changed, and a version's declaration once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._served: dict[str, tuple[tuple[int, int], Served | None]] = {}
        self._specs: dict[tuple[str, str], LLMSpec] = {}

    def find(self, model: str) -> Served | None:
        """The model, or None when it is no language model with a completed release."""
        try:
            stat = RolloutLog(model, self._settings).path.stat()
        except OSError:
            return None
        mark = (stat.st_size, stat.st_mtime_ns)
        cached = self._served.get(model)
        if cached is None or cached[0] != mark:
            cached = self._served[model] = (mark, self._read(model))
        return cached[1]

    def among(self, models: Iterable[str]) -> list[str]:
        """Those of ``models`` that are language models."""
        return [model for model in models if self.find(model) is not None]

    def spec(self, model: str, version: str) -> LLMSpec | None:
        """What a version declares, or None when it is not in the local cache or is no language model."""
        key = (model, version)
        if key not in self._specs:
            folder = registry.cache_folder(model, version, self._settings)
            try:
                if not is_llm(folder):
                    return None
                self._specs[key] = read_llm_spec(folder)
            except ClearwayError:
                return None
        return self._specs[key]

    def _read(self, model: str) -> Served | None:
        state = read_state(model, self._settings)
        if state.stable is None or state.stable not in state.arms:
            return None
        spec = self.spec(model, state.arms[state.stable].version)
        return Served(state, spec) if spec is not None else None
