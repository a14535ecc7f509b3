"""Values that were served beside values that were computed: apart, missing on a side, or the same."""

from __future__ import annotations

import pandas as pd
import pytest

from assets.monitoring.feature_skew import FeatureSkew, _compared


def test_each_way_to_differ_counts() -> None:
    found = _compared("f", [1.0, 2.0, None, 4, None], pd.Series([1.0 + 1e-9, 2.5, 3.0, None, None]))
    assert found == FeatureSkew("f", 5, 3 / 5, 2 / 5, 2 / 5, pytest.approx(0.25, abs=1e-6))


def test_without_a_pair_there_is_no_mean() -> None:
    found = _compared("f", [None, 1.0], pd.Series([1, None], dtype="Int64"))
    assert (found.differing, found.mean_difference) == (1.0, None)
