"""Where the environment, the converted models and the recorded requests of language models lie."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from serving.settings import PROJECT, Settings, get_settings

ENVIRONMENT = PROJECT / ".venv-llm"
DECLARED = Path(__file__).with_name("environment.toml")


@lru_cache(maxsize=1)
def declared() -> dict[str, Any]:
    """``environment.toml``: packages of each kind of machine, and the package that carries the model."""
    return tomllib.loads(DECLARED.read_text())


def interpreter(environment: Path = ENVIRONMENT) -> Path:
    """Python of vLLM's environment, whether it exists or not."""
    return environment / "bin" / "python"


def models(settings: Settings | None = None) -> Path:
    """Folder of the converted models."""
    return (settings or get_settings()).home / "llm" / "models"


def base_model(settings: Settings | None = None) -> Path:
    """Folder of the model that ``make llm`` prepares."""
    return models(settings) / str(declared()["model"]["name"])


def llm_events(settings: Settings | None = None) -> Path:
    """Root of the gateway's records of LLM requests. Not below ``settings.events``: that is ingested as predictions."""
    return (settings or get_settings()).home / "llm_events"
