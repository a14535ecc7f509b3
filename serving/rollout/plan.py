"""The release plan: what is released, how it is tried, when it counts as failed. Every default is here."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serving.errors import DeclarationError
from serving.rollout.gates import Gates

Strategy = Literal["blue_green", "canary", "ab", "rolling", "shadow"]
# Gates compare with a concurrent stable; above this weight it gets too few requests to compare with.
HIGHEST_COMPARED_WEIGHT = 90


class Smoke(BaseModel):
    """Real requests that the new version must answer, through the router, before any user's request reaches it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(default=20, ge=1, le=1000, description="how many are sent, one after another")
    max_error_rate: float = Field(default=0.0, ge=0, lt=1, description="share that may fail, 0 to 1")
    p95_ms: float = Field(default=250.0, gt=0, description="95th percentile of latency allowed, in ms")
    examples: list[dict[str, Any]] = Field(
        default=[], description="requests to send in turn; empty: the examples of the version's own request schema"
    )


class Step(BaseModel):
    """One step of a canary: the new version's share of the traffic, and what it must see before the next."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: int = Field(ge=1, le=100, description="percent of requests that go to the new version")
    min_seconds: float = Field(default=30.0, ge=0, description="the step lasts at least this long")
    min_requests: int = Field(default=20, ge=0, description="requests that the new version answers in this step")


class Segments(BaseModel):
    """Who is told apart in an A/B release: users by a header or cookie, each always sent to the same arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["header", "cookie"] = "header"
    name: str = Field(default="x-clearway-user", min_length=1, description="header or cookie that names the user")
    weight: int = Field(default=50, ge=1, le=HIGHEST_COMPARED_WEIGHT, description="percent of users on the new version")
    min_users: int = Field(default=200, ge=1, description="users of each version before a promotion")
    window_s: float = Field(
        default=300.0, gt=0, description="a user counts once, by the mean of their requests in this time from the first"
    )


class Shadow(BaseModel):
    """A shadow release: the new version answers copies of users' requests; users see stable's answers only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: int = Field(default=100, ge=1, le=100, description="percent of requests that are copied")
    min_pairs: int = Field(default=200, ge=1, description="answers compared by request id before a decision")
    tolerance: float = Field(
        default=0.1,
        ge=0,
        description="two scores that differ by at most this agree; of texts, the share of words that may differ",
    )
    min_agreement: float = Field(default=0.95, gt=0, le=1, description="share of pairs that must agree")


def rolling_weights(replicas: int) -> list[int]:
    """Percent of the traffic after each server that is replaced: that of 1, 2, ... of ``replicas``."""
    return [round(100 * done / replicas) for done in range(1, replicas + 1)]


class ReleasePlan(BaseModel):
    """One release of one registry version.

    ``blue_green`` starts the new version beside the stable one, tries it, moves all traffic at once, and keeps the old
    version running until the next release completes. ``canary`` moves it by ``steps`` under ``gates``. ``rolling``
    replaces ``replicas`` one by one under the same gates: one more than before runs at any time, and the old version is
    not kept. ``ab`` splits users by ``segments``. ``shadow`` copies
    requests and compares answers before a blue-green switch; a canary does so before its steps with ``shadow_first``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="registered model")
    version: str = Field(pattern=r"^[0-9]+$", description="registry version")
    strategy: Strategy = "blue_green"
    smoke: Smoke = Smoke()
    steps: tuple[Step, ...] = Field(
        default=tuple(Step(weight=w) for w in (5, 10, 25, 50, 100)),
        description="of a canary; a bare number is a step of that weight; ends with 100. Of a rolling release they are "
        "made of its replicas: 3 are 33, 67, 100",
    )
    gates: Gates = Gates()
    alpha: float = Field(
        default=0.01, gt=0, lt=0.5, description="probability of rolling back a version that is within all margins"
    )
    promote_evidence: float = Field(
        default=20.0, gt=1, description="evidence against each gate's promote_margin; 20 is one wrong in 20"
    )
    min_requests: int = Field(default=100, ge=0, description="requests to the new version before it may be promoted")
    deadline_s: float = Field(default=3600.0, gt=0, description="undecided after this time under gates: hold")
    sample_ratio_evidence: float = Field(
        default=1000.0, gt=1, description="evidence that the router's split is not the declared one, at which to hold"
    )
    restart_s: float = Field(
        default=30.0, gt=0, description="a fresh test begins this often, for faults that begin late"
    )
    segments: Segments = Segments()
    shadow: Shadow = Shadow()
    shadow_first: bool = Field(
        default=False, description="a canary answers copies by shadow before its first step gives it users' requests"
    )
    replicas: int = Field(default=1, ge=1, le=32, description="servers of the version; of rolling at least 2")
    keep_previous: bool = Field(default=True, description="keep the replaced version running, for a quick way back")
    ready_timeout_s: float = Field(default=120.0, gt=0, description="time to become ready, in s, before rolling back")
    drain_timeout_s: float = Field(default=30.0, ge=0, description="time for running requests before an arm is stopped")
    requested_by: str = Field(default="unnamed", description="who or what asked for the release; for the record")
    reason: str = Field(default="", description="why; for the record")
    evidence: dict[str, Any] = Field(default={}, description="results of the gates before the release; for the record")

    @field_validator("steps", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Allow ``steps: [5, 10, 25, 50, 100]``."""
        if isinstance(value, list | tuple):
            return [{"weight": v} if isinstance(v, int | float) and not isinstance(v, bool) else v for v in value]
        return value

    @model_validator(mode="before")
    @classmethod
    def _steps_of_strategy(cls, value: Any) -> Any:
        """An A/B release has one step, of the segments' weight; a rolling one has a step a server."""
        if isinstance(value, dict) and value.get("strategy") == "ab" and "steps" not in value:
            segments = value.get("segments") or {}
            weight = segments.get("weight", 50) if isinstance(segments, dict) else segments.weight
            return {**value, "steps": [{"weight": weight, "min_seconds": 0, "min_requests": 0}, {"weight": 100}]}
        if isinstance(value, dict) and value.get("strategy") == "rolling" and "steps" not in value:
            count = value.get("replicas", 1)
            if isinstance(count, int) and 1 <= count <= 32:
                return {**value, "steps": rolling_weights(count)}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ReleasePlan:
        weights = [step.weight for step in self.steps]
        if not weights or weights[-1] != 100:
            raise ValueError(f"steps: the last weight is 100, found {weights}")
        if any(a >= b for a, b in pairwise(weights)):
            raise ValueError(f"steps: weights rise from step to step, found {weights}")
        if self.strategy == "canary":
            if len(weights) < 2:
                raise ValueError("steps: a canary has a step below 100; blue_green moves all traffic at once")
            if weights[-2] > HIGHEST_COMPARED_WEIGHT:
                raise ValueError(
                    f"steps: weights below 100 are at most {HIGHEST_COMPARED_WEIGHT}, found {weights[-2]}: "
                    "above it stable gets too few requests to compare with"
                )
        if self.shadow_first and self.strategy != "canary":
            raise ValueError(f"shadow_first: of a canary only, found strategy {self.strategy}")
        if self.strategy == "ab" and weights != [self.segments.weight, 100]:
            raise ValueError(f"steps: an A/B release has none of its own, segments.weight says it; found {weights}")
        if self.strategy == "rolling" and self.replicas < 2:
            raise ValueError("replicas: rolling replaces at least 2 servers one by one, found 1")
        if self.strategy == "rolling" and weights != rolling_weights(self.replicas):
            raise ValueError(
                f"steps: a rolling release of {self.replicas} replicas has the weights "
                f"{rolling_weights(self.replicas)}, found {weights}"
            )
        return self


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
