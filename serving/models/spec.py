"""What a registry version says about itself: the request it takes, where each model input comes from, its calibration.

A version is a folder of two files, ``booster.txt`` (LightGBM's own text) and ``spec.json`` (a :class:`ModelSpec`).
Nothing else is needed to serve it, so a version can be released without releasing code.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ClearwayError

SPEC_FILE = "spec.json"
BOOSTER_FILE = "booster.txt"

FieldType = Literal["string", "integer", "number", "timestamp", "boolean"]
Take = Literal["value", "hour", "weekday", "minute_of_day", "minutes_between"]
CLOCK_TAKES = ("hour", "weekday", "minute_of_day")
# What a key may be built from: types whose text is the same in a data frame and in JSON.
KEY_TYPES = ("string", "integer", "boolean")


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestField(_Declared):
    """One field of a prediction request. ``values`` closes the set: anything else is refused with a reason."""

    name: str
    type: FieldType
    required: bool = True
    description: str = ""
    values: list[str | int | float] | None = None
    example: str | int | float | bool | None = None


class FromRequest(_Declared):
    """An input computed from request fields.

    ``value`` takes one field as it is; ``hour`` (0-23), ``weekday`` (0 is Monday) and ``minute_of_day`` (0-1439) read
    one timestamp in ``timezone``; ``minutes_between`` is the second timestamp minus the first, in minutes.
    """

    take: Take
    fields: list[str] = Field(min_length=1, max_length=2)
    timezone: str = "UTC"


class RequestSource(_Declared):
    request: FromRequest


class FeatureSource(_Declared):
    """An input that is a feature of the feature service, by its full name ``view__feature``."""

    feature: str = Field(pattern=r"^.+__.+$")


class Seen(_Declared):
    """What training saw of an input: a number's range (a thousandth lies beyond each end), and the missing share."""

    low: float | None = None
    high: float | None = None
    missing: float = Field(ge=0, le=1)


class ModelInput(_Declared):
    """One column of the model's matrix. ``categories`` fixes the codes of a category; others count as missing."""

    name: str
    kind: Literal["number", "category"] = "number"
    source: RequestSource | FeatureSource
    categories: list[str] | None = None
    seen: Seen | None = None

    @model_validator(mode="after")
    def _categories(self) -> ModelInput:
        if (self.kind == "category") != (self.categories is not None):
            raise ValueError(f"input {self.name!r}: a category needs 'categories', a number must not have them")
        if self.categories is not None and len(set(self.categories)) != len(self.categories):
            raise ValueError(f"input {self.name!r}: 'categories' holds a value twice")
        return self


class PredictionTime(_Declared):
    """When a prediction is made: a timestamp field of the request moved by ``offset_minutes`` (negative: before)."""

    field: str
    offset_minutes: float = 0.0


class NoCalibration(_Declared):
    kind: Literal["none"] = "none"


class PlattParameters(_Declared):
    slope: float
    intercept: float


class Platt(_Declared):
    """p = 1 / (1 + exp(-(slope * logit(raw) + intercept)))."""

    kind: Literal["platt"] = "platt"
    parameters: PlattParameters


class IsotonicParameters(_Declared):
    x: list[float] = Field(min_length=1)
    y: list[float] = Field(min_length=1)


class Isotonic(_Declared):
    """Linear interpolation of ``y`` over ``x`` (both non-decreasing), flat beyond the ends."""

    kind: Literal["isotonic"] = "isotonic"
    parameters: IsotonicParameters

    @model_validator(mode="after")
    def _monotone(self) -> Isotonic:
        x, y = self.parameters.x, self.parameters.y
        if len(x) != len(y) or sorted(x) != x or sorted(y) != y:
            raise ValueError("isotonic: x and y have one length and do not decrease")
        return self


Calibration = Annotated[NoCalibration | Platt | Isotonic, Field(discriminator="kind")]


def template_fields(template: str) -> list[str]:
    """Request fields that a key is built from: those of ``"{a}-{b}"``, or the one that ``"a"`` names."""
    if "{" not in template:
        return [template]
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


class ModelSpec(_Declared):
    """Everything that training and serving must agree on, kept inside the registry version.

    ``keys`` maps each join key of the feature service to a request field, or to a template over several
    (``"{site}-{crop}"``); ``threshold`` is the probability from which an answer carries the positive label (none:
    answers carry no label). ``metadata`` is free: snapshot ids, code commit, training period.
    """

    model: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    request: list[RequestField] = Field(min_length=1)
    inputs: list[ModelInput] = Field(min_length=1)
    keys: dict[str, str] = {}
    feature_service: str | None = None
    prediction_time: PredictionTime
    calibration: Calibration = NoCalibration()
    positive_label: str
    threshold: float | None = Field(default=None, ge=0, le=1)
    metadata: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        fields = {f.name: f for f in self.request}
        if len(fields) != len(self.request) or len({i.name for i in self.inputs}) != len(self.inputs):
            raise ValueError("two request fields or two inputs have one name")

        def expect(name: str, types: tuple[str, ...], where: str) -> None:
            if name not in fields:
                raise ValueError(f"{where} names {name!r}, which is no request field ({', '.join(fields)})")
            if fields[name].type not in types:
                raise ValueError(f"{where}: {name!r} is a {fields[name].type}, expected one of {', '.join(types)}")

        for item in self.inputs:
            if isinstance(item.source, FeatureSource):
                if self.feature_service is None:
                    raise ValueError(f"input {item.name!r} is a feature, but no feature_service is named")
                continue
            take = item.source.request
            if len(take.fields) != (2 if take.take == "minutes_between" else 1):
                raise ValueError(f"input {item.name!r}: {take.take} takes {len(take.fields)} fields")
            plain = ("string", "integer", "boolean") if item.kind == "category" else ("integer", "number", "boolean")
            for name in take.fields:
                expect(name, plain if take.take == "value" else ("timestamp",), f"input {item.name!r}")
        for key, template in self.keys.items():
            for name in template_fields(template):
                expect(name, KEY_TYPES, f"key {key!r}")
                if "{" not in template and not fields[name].required and fields[name].type != "string":
                    raise ValueError(f"key {key!r}: {name!r} must be required, as it is no string")
        expect(self.prediction_time.field, ("timestamp",), "prediction_time")
        if not fields[self.prediction_time.field].required:
            raise ValueError(f"prediction_time: {self.prediction_time.field!r} must be a required field")
        return self

    @property
    def categorical(self) -> list[int]:
        """Positions of the category inputs in the matrix, for LightGBM's ``categorical_feature``."""
        return [i for i, item in enumerate(self.inputs) if item.kind == "category"]

    @property
    def input_names(self) -> list[str]:
        return [item.name for item in self.inputs]

    @property
    def features(self) -> list[str]:
        """Full names of the features that the inputs use, in order."""
        return [item.source.feature for item in self.inputs if isinstance(item.source, FeatureSource)]

    def examples(self) -> dict[str, Any]:
        """One valid request made of the fields' examples; fields without an example are left out."""
        return {f.name: f.example for f in self.request if f.example is not None}


def read_spec(folder: Path) -> ModelSpec:
    """Read ``spec.json`` of an artifact folder.

    Raises:
        ClearwayError: the file is missing or does not say what the schema expects (file, field, expectation).
    """
    file = folder / SPEC_FILE
    try:
        return ModelSpec.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ClearwayError(f"{file} cannot be read: {error}", todo="register the version again.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
        raise ClearwayError(f"{file}: {lines}", todo="register the version again with a valid spec.") from error
