"""Bad requests are refused with index, field and reason; nothing a caller can send raises anything else."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.models.requests import RequestError, RequestReader
from tests.serving.models import toy

READER = RequestReader(toy.spec())
GOOD = toy.REQUEST


def test_a_good_request_becomes_typed() -> None:
    (row,) = READER.read([{**GOOD, "row": 3, "shaded": False, "harvest": None, "request_id": "r-1"}])
    assert row == {
        "bed": "bed-3",
        "crop": "kale",
        "watering": datetime(2024, 6, 1, 12, 30, tzinfo=UTC),
        "litres": 4.5,
        "row": 3,
        "shaded": False,
        "request_id": "r-1",
    }


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"crop": "oak"}, "crop", "'oak' is unknown; known values are bean, kale, mint"),
        ({"crop": None}, "crop", "is missing"),
        ({"crop": 3}, "crop", "expected a string, got int"),
        ({"crop": ["kale"]}, "crop", "expected a string, got list"),
        ({"bed": " "}, "bed", "empty"),
        ({"bed": "x" * 1000}, "bed", "at most 256"),
        ({"litres": "4.5"}, "litres", "expected a number, got str"),
        ({"litres": True}, "litres", "expected a number, got bool"),
        ({"row": 1.5}, "row", "expected an integer, got float"),
        ({"row": 2**63}, "row", "expected an integer"),
        ({"shaded": "yes"}, "shaded", "expected a boolean, got str"),
        ({"watering": "2024-06-01T14:30:00"}, "watering", "has no offset"),
        ({"watering": "yesterday"}, "watering", "no ISO 8601"),
        ({"watering": 1717245000}, "watering", "expected a timestamp"),
        ({"watering": "9999-12-31T23:59:59-23:59"}, "watering", "between the years"),
        ({"colour": "red"}, "colour", "is not a field of this model"),
        ({"request_id": "a b"}, "request_id", "letters"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        READER.read([GOOD, {**GOOD, **change}])
    assert (caught.value.index, caught.value.field) == (1, field)


@pytest.mark.parametrize("raw", [None, {}, [], "x", 3, [3], [None], [GOOD] * 1001])
def test_what_is_no_list_of_objects_is_refused(raw: Any) -> None:
    with pytest.raises(RequestError):
        READER.read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON | st.dictionaries(st.sampled_from([f.name for f in toy.spec().request]), JSON), max_size=3))
def test_nothing_but_a_request_error_is_raised(raw: list[Any]) -> None:
    with contextlib.suppress(RequestError):
        READER.read(raw)
