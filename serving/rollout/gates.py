"""The gates that a release plan declares: what of each request is compared between the new version and stable.

Every gate asks the same two questions of the concurrent arms: is the new version worse than stable by more than
``rollback_margin`` (then it leaves), and has it been shown to be worse by less than ``promote_margin`` (then it may
stay)? Both are answered by sequential tests that may be looked at after every request (``serving.rollout.evidence``).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Measure = Literal["latency_ms", "ttft_ms", "inter_token_ms"]
# A version that is given little traffic answers from cold caches: 3 to 8 ms later, measured at 3 requests a second.
SLACK_MS: dict[str, float] = {"latency_ms": 10.0, "ttft_ms": 10.0, "inter_token_ms": 1.0}


class _Margins(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _ordered(self) -> _Margins:
        rollback, promote = getattr(self, "rollback_margin", 0.0), getattr(self, "promote_margin", 1.0)
        if promote <= rollback:
            raise ValueError(
                f"promote_margin {promote} is above rollback_margin {rollback}, or both outcomes would be right at once"
            )
        return self


class ErrorGate(_Margins):
    """The share of requests that end in an error of the service: no answer, or a status from 500."""

    rollback_margin: float = Field(
        default=0.002, ge=0, lt=1, description="share by which the new version may exceed stable without leaving"
    )
    promote_margin: float = Field(
        default=0.01, gt=0, lt=1, description="share by which it may exceed stable and still be promoted"
    )


class LatencyGate(_Margins):
    """The share of requests that are slower than a quantile of stable's latency, frozen before the first step.

    From the new version's latency ``slack_ms`` is taken, and the rest is divided by ``1 + slower``, so that a version
    slower by so much is as good as stable. A request that failed counts as slow on either.
    """

    measure: Measure = Field(
        default="latency_ms",
        description="whole answer; of LLMs also the time to the first token, or the mean time between tokens",
    )
    quantile: float = Field(default=0.95, gt=0, lt=1, description="quantile of stable that marks a slow request")
    slower: float = Field(default=0.1, ge=0, description="relative slowdown that counts as none: 0.1 is 10%")
    slack_ms: float | None = Field(
        default=None, ge=0, description="milliseconds that count as none; none: 10, between tokens 1"
    )
    rollback_margin: float = Field(default=0.0, ge=0, lt=1, description="share of slow requests in excess: tolerated")
    promote_margin: float = Field(default=0.05, gt=0, lt=1, description="share of slow requests in excess: promotable")

    @property
    def slack(self) -> float:
        """``slack_ms``, or the measure's own."""
        return SLACK_MS[self.measure] if self.slack_ms is None else self.slack_ms

    def allowed(self, milliseconds: float) -> float:
        """A latency of the new version as it is compared with stable's."""
        return (milliseconds - self.slack) / (1 + self.slower)

    @property
    def name(self) -> str:
        return f"{self.measure.removesuffix('_ms')}_p{self.quantile * 100:g}"


class ScalarGate(_Margins):
    """Any number that a request is judged by, between declared bounds; what lies outside counts as the bound.

    Servers report some themselves (``missing_features``, ``input_skew``, ``invalid``, ``refusal``, ``cost``); others,
    such as a loss once the label is there, are reported by request id.
    """

    measure: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="name under which the number is reported; of a metric, its name"
    )
    metric: str | None = Field(
        default=None,
        description="metric of the semantic layer; its value of each request is reported once it is known",
    )
    bounds: tuple[float, float] = Field(default=(0.0, 1.0), description="lowest and highest value that counts")
    worse: Literal["higher", "lower"] = Field(default="higher", description="which direction is worse")
    rollback_margin: float = Field(default=0.0, ge=0, description="difference of means, in the measure's own unit")
    promote_margin: float = Field(gt=0, description="difference of means, in the measure's own unit")

    @model_validator(mode="before")
    @classmethod
    def _named_by_metric(cls, value: Any) -> Any:
        """Allow ``{metric: decision_cost, ...}`` without a measure of its own."""
        if isinstance(value, dict) and "metric" in value and "measure" not in value:
            return {**value, "measure": value["metric"]}
        return value

    @model_validator(mode="after")
    def _bounded(self) -> ScalarGate:
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"bounds are [low, high] with low below high, found [{low}, {high}]")
        if self.promote_margin >= high - low:
            raise ValueError(f"promote_margin is below the width of the bounds, {high - low}")
        return self

    @property
    def name(self) -> str:
        return self.measure


class Gates(BaseModel):
    """All gates of a plan. They share one alpha: errors get ``errors_share`` of it, the others the rest, equally."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    errors: ErrorGate = ErrorGate()
    latency: tuple[LatencyGate, ...] = (LatencyGate(),)
    scalars: tuple[ScalarGate, ...] = Field(
        default=(ScalarGate(measure="refused", promote_margin=0.02),),
        description="by default the share of requests that the version refuses (status 4xx)",
    )
    errors_share: float = Field(default=0.4, gt=0, le=1, description="share of alpha that the error gate gets")

    @model_validator(mode="after")
    def _named_once(self) -> Gates:
        names = self.names
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"declared twice: {', '.join(twice)}")
        return self

    @property
    def names(self) -> list[str]:
        """``errors``, then the latency gates as measure_quantile, then the scalars by their measure."""
        return ["errors", *(g.name for g in self.latency), *(g.name for g in self.scalars)]

    @property
    def shares(self) -> dict[str, float]:
        """Each gate's weight in the average of e-values that is compared with 1 / alpha; they sum to 1."""
        others = self.names[1:]
        if not others:
            return {"errors": 1.0}
        rest = (1 - self.errors_share) / len(others)
        return {"errors": self.errors_share, **dict.fromkeys(others, rest)}
