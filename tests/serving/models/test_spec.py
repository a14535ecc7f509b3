"""A spec that contradicts itself is refused with the field and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.errors import ClearwayError
from serving.models.spec import ModelSpec, read_spec
from tests.serving.models import toy


def test_it_reads_back_what_it_wrote(tmp_path: Path) -> None:
    spec = toy.spec()
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert read_spec(tmp_path) == spec
    assert spec.categorical == [0, 7, 9, 11]
    assert spec.features == ["bed_soil__moisture_7d", "bed_soil__soil", "bed_crop__thirst"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keys": {"bed_id": "plot"}}, "key 'bed_id' names 'plot', which is no request field"),
        ({"keys": {"bed_id": "{bed}-{litres}"}}, "'litres' is a number"),
        ({"keys": {"bed_id": "row"}}, "'row' must be required"),
        ({"prediction_time": {"field": "crop"}}, "'crop' is a string, expected one of timestamp"),
        ({"prediction_time": {"field": "harvest"}}, "must be a required field"),
        ({"feature_service": None}, "no feature_service is named"),
        ({"surprise": 1}, "surprise"),
        ({"calibration": {"kind": "isotonic", "parameters": {"x": [0, 1], "y": [1, 0]}}}, "do not decrease"),
        (
            {"inputs": [{"name": "a", "source": {"request": {"take": "hour", "fields": ["crop"]}}}]},
            "'crop' is a string, expected one of timestamp",
        ),
        (
            {
                "inputs": [
                    {"name": "a", "kind": "category", "source": {"request": {"take": "value", "fields": ["crop"]}}}
                ]
            },
            "a category needs 'categories'",
        ),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ModelSpec.model_validate({**toy.spec().model_dump(mode="json"), **changes})


def test_a_broken_file_is_named_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(ClearwayError, match="cannot be read"):
        read_spec(tmp_path)
    (tmp_path / "spec.json").write_text('{"model": "m"}')
    with pytest.raises(ClearwayError, match=r"spec\.json.*request: Field required"):
        read_spec(tmp_path)
