"""What a model declares about the alarms on its risk."""

from __future__ import annotations

from pydantic import Field

from assets.declared import Declared


class Slice(Declared):
    """Predictions whose ``column`` in the mart of predictions has this value."""

    column: str
    value: str

    @property
    def name(self) -> str:
        return f"{self.column}={self.value}"


class RiskAlarm(Declared):
    """When people are told that the model is worse than it says.

    The tolerances bound weekly means: of measured minus estimated log loss (nats), and of label minus score, both ways.
    """

    false_alarms: float = Field(default=1.0, gt=0, description="a year, of the model and all its slices together")
    loss: float = Field(default=0.02, ge=0, lt=0.2)
    calibration: float = Field(default=0.05, ge=0, lt=0.2)
    slices: tuple[Slice, ...] = Field(default=(), max_length=5)
