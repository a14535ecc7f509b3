"""What a tabular model declares: its examples, its request, its inputs, its search and its gates."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from assets.declared import Declared, fingerprint
from assets.monitoring.decision import AnyPolicy, ExpectedCost
from assets.monitoring.spec import RiskAlarm
from serving.models.spec import FeatureSource, ModelInput, ModelSpec, PredictionTime, RequestField, RequestSource


class Examples(Declared):
    """The mart of labelled examples; its columns hold the request fields."""

    model: str = Field(description="name of the dbt model")
    id: str
    label: str
    label_known_at: str
    event_timestamp: str
    period: str
    requests: str | None = Field(
        default=None,
        description="dbt model of everything that is asked about, with a label or never, by the same id and request "
        "fields; a replay asks for its rows, without it for the examples",
    )


class DeclaredField(Declared):
    """A request field; ``closed`` takes its allowed values from the training set, and refuses others by name."""

    name: str
    type: Literal["string", "integer", "number", "timestamp", "boolean"]
    required: bool = True
    description: str = ""
    closed: bool = False
    example: str | int | float | bool | None = None


class DeclaredInput(Declared):
    """A column of the model's matrix; the categories of a category are those of the training set."""

    name: str
    kind: Literal["number", "category"] = "number"
    source: RequestSource | FeatureSource


class Window(Declared):
    """Months [start, end)."""

    start: date
    end: date

    @model_validator(mode="after")
    def _ordered(self) -> Window:
        if not self.start < self.end:
            raise ValueError("start is before end")
        return self


class Range(Declared):
    """What the search may choose for one parameter of the learner."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


class Learner(Declared):
    """LightGBM, its search by Optuna over time-ordered folds, and its calibration."""

    trials: int = Field(default=10, ge=1)
    folds: int = Field(default=3, ge=2)
    rounds: int = Field(default=400, ge=10)
    early_stopping: int = Field(default=30, ge=1)
    fixed: dict[str, float | int | str | bool] = Field(default_factory=dict)
    search: dict[str, Range] = Field(default_factory=dict)
    calibration: Literal["none", "platt", "isotonic"] = "platt"
    seed: int = 7


class Floor(Declared):
    """The least that any version must reach on the evaluation window."""

    auc: float = Field(ge=0, le=1)
    log_loss: float = Field(gt=0)


class ChampionGate(Declared):
    """Against the champion on the same later days: the challenger's mean daily log loss may exceed it by ``margin``."""

    margin: float = Field(default=0.0, ge=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    block_days: int = Field(default=7, ge=1)


class SliceGate(Declared):
    """No slice with enough rows may be worse than predicting the slice's own rate by more than ``margin``."""

    fields: tuple[str, ...]
    min_rows: int = 500
    margin: float = 0.0


class CalibrationGate(Declared):
    """Expected calibration error over ten equal-count bins."""

    max_error: float = Field(gt=0, lt=1)


class Gates(Declared):
    """All must pass before a version becomes challenger."""

    floor: Floor
    champion: ChampionGate = ChampionGate()
    slices: SliceGate | None = None
    calibration: CalibrationGate


class Monitoring(Declared):
    """What a month's report compares; none of it changes the model."""

    sample: int = Field(default=5_000, ge=1, description="rows of the month and of the reference, at most; bounds cost")
    seed: int = Field(default=7, description="of the sample")
    reference: Window | None = Field(
        default=None, description="months of the version's two sets to compare with; without it all it was trained on"
    )


class Retraining(Declared):
    """How it is decided whether to retrain, and what a retraining learns from and is judged on."""

    policy: AnyPolicy = ExpectedCost()
    alarm: RiskAlarm = RiskAlarm()
    wait_days: float = Field(default=1.0, ge=0, description="from a period's end until its review, for late labels")
    judge_days: int = Field(default=14, ge=2, description="newest days that a challenger is judged on, not fitted on")
    refit: bool = Field(default=True, description="fit what passed once more, on everything that is known")
    search: bool = Field(
        default=False, description="search parameters anew; without it the champion's are taken, as the backtest does"
    )
    gates: Gates | None = Field(
        default=None, description="of a retraining, whose days are few; without them the model's own"
    )


class ModelDeclaration(Declared):
    """One tabular model."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    owner: str | None = None
    examples: Examples
    feature_service: str
    request: tuple[DeclaredField, ...] = Field(min_length=1)
    inputs: tuple[DeclaredInput, ...] = Field(min_length=1)
    keys: dict[str, str]
    prediction_time: PredictionTime
    positive_label: str
    threshold: float | None = None
    train: Window
    evaluate: Window
    learner: Learner = Learner()
    gates: Gates
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    release: str = Field(description="name of the release plan in releases/")

    @model_validator(mode="after")
    def _consistent(self) -> ModelDeclaration:
        if self.evaluate.start < self.train.end:
            raise ValueError("evaluate.start: expected no month that is trained on")
        self.serving_spec()  # the server's own rules hold for the declaration too
        return self

    def fingerprint(self) -> str:
        """Hash of what a version is made of (hex, 16 characters): another report or rule asks for no new model."""
        return fingerprint(self.model_dump(mode="json", exclude={"monitoring", "retraining"}))

    def serving_spec(
        self,
        categories: dict[str, list[str]] | None = None,
        values: dict[str, list[str | int | float]] | None = None,
        **more: object,
    ) -> ModelSpec:
        """The spec that goes into the registry version.

        Args:
            categories: by input, the categories found in training.
            values: by request field, the values that a closed field allows.
            more: calibration, metadata.
        """
        return ModelSpec.model_validate(
            {
                "model": self.name,
                "request": [
                    RequestField(
                        name=f.name,
                        type=f.type,
                        required=f.required,
                        description=f.description,
                        example=f.example,
                        values=(values or {}).get(f.name),
                    )
                    for f in self.request
                ],
                "inputs": [
                    ModelInput(
                        name=i.name,
                        kind=i.kind,
                        source=i.source,
                        categories=((categories or {}).get(i.name, []) if i.kind == "category" else None),
                    )
                    for i in self.inputs
                ],
                "keys": self.keys,
                "feature_service": self.feature_service,
                "prediction_time": self.prediction_time,
                "positive_label": self.positive_label,
                "threshold": self.threshold,
                **more,
            }
        )
