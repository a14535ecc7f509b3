"""A version knows what its training saw, and says how far a request is from it."""

from __future__ import annotations

import numpy as np
import pytest

from serving.models.skew import InputSkew, training_ranges
from tests.serving.models import toy

NAN = float("nan")


def test_ranges_are_of_numbers_and_leave_strays_out() -> None:
    inputs = [i for i in toy.spec().inputs if i.name in ("litres", "crop", "moisture")]
    rng = np.random.default_rng(0)
    rows = 10_000
    litres = rng.uniform(1, 5, rows)
    litres[0] = 1e6
    moisture = np.where(rng.random(rows) < 0.2, NAN, rng.uniform(0, 1, rows))
    matrix = np.column_stack([rng.integers(0, 3, rows), litres, moisture])
    crop, number, wet = (i.seen for i in training_ranges(inputs, matrix))
    assert crop is not None
    assert number is not None
    assert wet is not None
    assert (crop.low, crop.high, crop.missing) == (None, None, 0)
    assert 1 <= float(number.low or 0) < 1.02
    assert 4.98 < float(number.high or 0) <= 5
    assert wet.missing == pytest.approx(0.2, abs=0.02)


def test_the_skew_is_the_share_of_inputs_that_training_did_not_see() -> None:
    inputs = [i for i in toy.spec().inputs if i.name in ("litres", "crop", "moisture")]
    rng = np.random.default_rng(0)
    training = np.column_stack([rng.integers(0, 3, 500), rng.uniform(1, 5, 500), np.full(500, NAN)])
    skew = InputSkew(training_ranges(inputs, training))
    found = skew.of(np.array([[1, 3, NAN], [NAN, 3, NAN], [1, 9, NAN], [NAN, 0, 0.5]]))
    assert found == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3]), "what training missed too is no skew, nor is its presence"


def test_a_version_without_the_record_does_not_know() -> None:
    skew = InputSkew(toy.spec().inputs)
    assert not skew.known
    assert skew.of(np.full((2, len(toy.spec().inputs)), NAN)).tolist() == [0, 0]
