"""The row path and the frame path of the model's matrix are one function."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.models.inputs import RowDeriver, derive, join_keys, prediction_times
from tests.serving.models import toy

SPEC = toy.spec()
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
REQUESTS = st.fixed_dictionaries(
    {"crop": st.sampled_from(toy.CROPS), "watering": INSTANTS, "litres": st.floats(-1e9, 1e9)},
    optional={
        "bed": st.sampled_from([*toy.BEDS, "ä b"]),
        "harvest": INSTANTS,
        "row": st.integers(-5, 9),
        "shaded": st.booleans(),
    },
)
FEATURES = st.fixed_dictionaries(
    {},
    optional={
        "bed_soil__moisture_7d": st.floats(-10, 10),
        "bed_soil__soil": st.sampled_from(["clay", "loam", "peat"]),
        "bed_crop__thirst": st.floats(-10, 10),
    },
)
COLUMNS = [field.name for field in SPEC.request]


def frames(rows: list[tuple[dict, dict]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    requests = pd.DataFrame([row for row, _ in rows], columns=COLUMNS)
    for name in ("watering", "harvest"):
        requests[name] = pd.to_datetime(requests[name], utc=True)
    return requests, pd.DataFrame([features for _, features in rows], columns=SPEC.features)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(REQUESTS, FEATURES), min_size=1, max_size=8))
def test_rows_and_frames_give_one_matrix_one_key_and_one_time(rows: list[tuple[dict, dict]]) -> None:
    requests, features = frames(rows)
    deriver = RowDeriver(SPEC)

    of_rows = deriver.derive([r for r, _ in rows], [f for _, f in rows])
    np.testing.assert_array_equal(of_rows, derive(SPEC.inputs, requests, features))

    keys = join_keys(SPEC, requests)
    assert [deriver.keys(r) for r, _ in rows] == keys.to_dict("records")
    times = prediction_times(SPEC, requests)
    assert [pd.Timestamp(deriver.prediction_time(r)) for r, _ in rows] == list(times)


def test_values_are_those_worked_out_by_hand() -> None:
    request = {
        "bed": "bed-3",
        "crop": "kale",
        "watering": datetime(2024, 6, 1, 22, 30, tzinfo=UTC),  # Sunday 00:30 in Berlin
        "harvest": datetime(2024, 6, 2, 0, 0, tzinfo=UTC),
        "litres": 4.5,
        "row": 7,
        "shaded": True,
    }
    features = {"bed_soil__moisture_7d": 0.5, "bed_soil__soil": "peat", "bed_crop__thirst": 2.0}
    found = dict(zip(SPEC.input_names, RowDeriver(SPEC).derive([request], [features])[0], strict=True))
    assert found["crop"] == 1
    assert (found["hour"], found["weekday"], found["minute"], found["until_harvest"]) == (0, 6, 30, 90)
    assert (found["row"], found["row_label"], found["shaded"], found["shade_label"]) == (7, 2, 1, 1)
    assert (found["moisture"], found["thirst"]) == (0.5, 2.0)
    assert np.isnan(found["soil"])  # "peat" is no declared category


def test_a_missing_part_makes_a_key_that_joins_nothing() -> None:
    request = {"crop": "kale", "watering": datetime(2024, 6, 1, tzinfo=UTC), "litres": 1.0}
    assert RowDeriver(SPEC).keys(request) == {"bed_id": "", "bed_crop_id": ""}
    assert RowDeriver(SPEC).keys({**request, "bed": "bed-1"}) == {"bed_id": "bed-1", "bed_crop_id": "bed-1-kale"}


def test_frames_refuse_naive_timestamps_and_uneven_lengths() -> None:
    requests, features = frames([({"crop": "kale", "watering": datetime(2024, 6, 1), "litres": 1.0}, {})])
    with pytest.raises(ValueError, match="1 requests but 0 rows"):
        derive(SPEC.inputs, requests, features.iloc[:0])
    requests["watering"] = requests["watering"].dt.tz_localize(None)
    with pytest.raises(ValueError, match="time zone"):
        derive(SPEC.inputs, requests, features)


def test_three_hundred_thousand_rows_are_vectorised() -> None:
    import time

    request = {"bed": "bed-1", "crop": "kale", "watering": datetime(2024, 6, 1, tzinfo=UTC), "litres": 1.0, "row": 1}
    one, features = frames([(request, {"bed_soil__soil": "loam", "bed_crop__thirst": 1.0})])
    n = 300_000
    requests, features = one.loc[one.index.repeat(n)], features.loc[features.index.repeat(n)]
    start = time.process_time()
    assert derive(SPEC.inputs, requests, features).shape == (n, len(SPEC.inputs))
    assert time.process_time() - start < 10
