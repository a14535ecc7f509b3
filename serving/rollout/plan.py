"""The release plan: what is released, how it is tried, when it counts as failed. Every default is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import DeclarationError


class Smoke(BaseModel):
    """Real requests that the new version must answer, through the router, before any user's request reaches it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(default=20, ge=1, le=1000, description="how many are sent, one after another")
    max_error_rate: float = Field(default=0.0, ge=0, lt=1, description="share that may fail, 0 to 1")
    p95_ms: float = Field(default=250.0, gt=0, description="95th percentile of latency allowed, in ms")
    examples: list[dict[str, Any]] = Field(
        default=[], description="requests to send in turn; empty: the examples of the version's own request schema"
    )


class ReleasePlan(BaseModel):
    """One release of one registry version.

    ``blue_green`` starts the new version beside the stable one, tries it, moves all traffic at once, and keeps the old
    version running until the next release completes. No other strategy is known to this controller.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="registered model")
    version: str = Field(pattern=r"^[0-9]+$", description="registry version")
    strategy: Literal["blue_green"] = "blue_green"
    smoke: Smoke = Smoke()
    keep_previous: bool = Field(default=True, description="keep the replaced version running, for a quick way back")
    ready_timeout_s: float = Field(default=120.0, gt=0, description="time to become ready, in s, before rolling back")
    requested_by: str = Field(default="unnamed", description="who or what asked for the release; for the record")
    reason: str = Field(default="", description="why; for the record")
    evidence: dict[str, Any] = Field(default={}, description="results of the gates before the release; for the record")


def parse_plan(declared: Any, where: str) -> ReleasePlan:
    """A plan from declared data.

    Raises:
        DeclarationError: names ``where`` (the file), each field and what was expected of it.
    """
    try:
        return ReleasePlan.model_validate(declared)
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'plan'}: {e['msg']}" for e in error.errors())
        raise DeclarationError(
            f"{where}: {lines}", untouched="every running version.", todo="correct the plan and submit it again."
        ) from error


def read_plan(file: Path, **values: Any) -> ReleasePlan:
    """A plan from a YAML file; ``values`` (such as ``version``) go over what the file says."""
    try:
        declared = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DeclarationError(f"{file}: {error}", untouched="every running version.") from error
    if not isinstance(declared, dict):
        raise DeclarationError(f"{file}: expected a mapping of fields, found {type(declared).__name__}")
    return parse_plan({**declared, **values}, str(file))
