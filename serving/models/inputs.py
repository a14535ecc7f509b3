"""Request and features to the model's matrix: the one definition that training and serving share.

Each computation exists in two forms of one meaning: over data frames (a training set of any size, vectorised) and over
rows (a request or a small batch, without the cost of building frames). A property test holds them equal.

A matrix is float64 of shape (rows, inputs). A category is its position in ``categories``; missing, unknown and null
are NaN everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from serving.models.spec import CLOCK_TAKES, FeatureSource, FromRequest, ModelInput, ModelSpec, template_fields

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
Matrix = NDArray[np.float64]
# Whole microseconds divided once: rounded the same way for one row and for a frame.
MINUTE_US = 60_000_000
RowInput = Callable[[Row, Row], float]


# Frames


def derive(inputs: Sequence[ModelInput], requests: pd.DataFrame, features: pd.DataFrame) -> Matrix:
    """The model's matrix of a whole frame.

    Args:
        inputs: ``spec.inputs``.
        requests: one row a prediction, the request fields as columns; timestamps are timezone-aware.
        features: the same rows in the same order, columns ``view__feature``.

    Returns:
        float64, shape (len(requests), len(inputs)).

    Raises:
        KeyError: a column that an input takes is missing.
        ValueError: the frames differ in length, or a timestamp has no time zone.
    """
    if len(requests) != len(features):
        raise ValueError(f"{len(requests)} requests but {len(features)} rows of features")
    matrix = np.empty((len(requests), len(inputs)), dtype=np.float64)
    for position, item in enumerate(inputs):
        if isinstance(item.source, FeatureSource):
            column = features[item.source.feature]
        elif item.source.request.take == "value":
            column = requests[item.source.request.fields[0]]
        else:
            matrix[:, position] = _clock_frame(item.source.request, requests)
            continue
        matrix[:, position] = _codes(item, column) if item.kind == "category" else _numbers(column)
    return matrix


def _instants(requests: pd.DataFrame, name: str) -> pd.Series:
    import pandas as pd

    column = pd.to_datetime(requests[name]) if requests[name].dtype == object else requests[name]
    if getattr(column.dtype, "tz", None) is None:
        raise ValueError(f"request column {name!r} is {column.dtype}; timestamps carry a time zone")
    return column


def _clock_frame(source: FromRequest, requests: pd.DataFrame) -> Matrix:
    first = _instants(requests, source.fields[0])
    if source.take == "minutes_between":
        between = (_instants(requests, source.fields[1]) - first).to_numpy("timedelta64[us]")
        return np.where(np.isnat(between), np.nan, between.astype(np.int64) / MINUTE_US)
    # By zoneinfo as in a single row: by name pandas takes pytz, which knows no daylight saving after 2037.
    local = first.dt.tz_convert(ZoneInfo(source.timezone)).dt
    if source.take == "hour":
        return local.hour.to_numpy(np.float64)
    if source.take == "weekday":
        return local.weekday.to_numpy(np.float64)
    return (local.hour * 60 + local.minute).to_numpy(np.float64)


def _numbers(column: pd.Series) -> Matrix:
    import pandas as pd

    return pd.to_numeric(column, errors="raise").to_numpy(dtype=np.float64, na_value=np.nan)


def _codes(item: ModelInput, column: pd.Series) -> Matrix:
    import pandas as pd

    codes = pd.Index(item.categories or []).get_indexer(pd.Index(_texts(column)))
    return np.where(codes < 0, np.nan, codes.astype(np.float64))


def _texts(column: pd.Series) -> Any:
    """Values as the text JSON would give them ("7", not "7.0"; "true"), None where null; shape (rows,)."""
    import pandas as pd

    # Only the distinct values are written as text, by the same function as a single row's.
    codes, distinct = pd.factorize(column)
    texts = np.array([*[_text(value) for value in distinct], None], dtype=object)
    return texts[codes]


def prediction_times(spec: ModelSpec, requests: pd.DataFrame) -> pd.Series:
    """When each prediction is made: timezone-aware (UTC), shape (rows,)."""
    import pandas as pd

    field = _instants(requests, spec.prediction_time.field).dt.tz_convert("UTC")
    return field + pd.Timedelta(minutes=spec.prediction_time.offset_minutes)


def join_keys(spec: ModelSpec, requests: pd.DataFrame) -> pd.DataFrame:
    """One column a join key of the feature service, in the order and with the index of ``requests``.

    A null in a key gives the empty text, which joins nothing, offline as online.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    for key, template in spec.keys.items():
        if "{" not in template:
            columns[key] = requests[template].where(requests[template].notna(), "")
            continue
        names = template_fields(template)
        parts = [_texts(requests[name]) for name in names]
        columns[key] = [
            "" if None in row else template.format(**dict(zip(names, row, strict=True)))
            for row in zip(*parts, strict=True)
        ]
    return pd.DataFrame(columns, index=requests.index)


# Rows


def _text(value: Any) -> str | None:
    if value is None or value != value:  # NaN differs from itself
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _clock_row(source: FromRequest) -> RowInput:
    if source.take == "minutes_between":
        start, end = source.fields

        def between(request: Row, _: Row) -> float:
            first, second = request.get(start), request.get(end)
            return (
                math.nan
                if first is None or second is None
                else (second - first) // timedelta(microseconds=1) / MINUTE_US
            )

        return between
    assert source.take in CLOCK_TAKES
    zone, name, take = ZoneInfo(source.timezone), source.fields[0], source.take

    def clock(request: Row, _: Row) -> float:
        at: datetime | None = request.get(name)
        if at is None:
            return math.nan
        local = at.astimezone(zone)
        if take == "hour":
            return float(local.hour)
        return float(local.weekday()) if take == "weekday" else float(local.hour * 60 + local.minute)

    return clock


def _row_input(item: ModelInput) -> RowInput:
    source = item.source
    if isinstance(source, FeatureSource):
        from_feature, name = True, source.feature
    elif source.request.take == "value":
        from_feature, name = False, source.request.fields[0]
    else:
        return _clock_row(source.request)
    codes = None if item.categories is None else {value: float(code) for code, value in enumerate(item.categories)}

    def value(request: Row, features: Row) -> float:
        found = (features if from_feature else request).get(name)
        return _number(found) if codes is None else codes.get(_text(found) or "", math.nan)

    return value


class RowDeriver:
    """:func:`derive` for small batches: compiled once for a spec, then rows in, matrix out, without pandas.

    Request rows are validated ones (timestamps are aware datetimes); absent or None is missing.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._inputs = [_row_input(item) for item in spec.inputs]
        self._offset = timedelta(minutes=spec.prediction_time.offset_minutes)
        self._time_field = spec.prediction_time.field
        self._keys = [(key, template, template_fields(template)) for key, template in spec.keys.items()]

    def derive(self, requests: Sequence[Row], features: Sequence[Row]) -> Matrix:
        """float64, shape (len(requests), inputs)."""
        matrix = np.empty((len(requests), len(self._inputs)), dtype=np.float64)
        for i, (request, row) in enumerate(zip(requests, features, strict=True)):
            matrix[i] = [compute(request, row) for compute in self._inputs]
        return matrix

    def keys(self, request: Row) -> dict[str, Any]:
        """The entity keys of one request."""
        found: dict[str, Any] = {}
        for key, template, names in self._keys:
            if "{" not in template:
                value = request.get(template)
                found[key] = "" if value is None else value
                continue
            parts = {name: _text(request.get(name)) for name in names}
            found[key] = "" if None in parts.values() else template.format(**parts)
        return found

    def prediction_time(self, request: Row) -> datetime:
        at: datetime = request[self._time_field]
        return at + self._offset
