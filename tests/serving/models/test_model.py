"""Saved, loaded and calibrated, a model gives what its booster and the written formula give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.errors import ClearwayError
from serving.models.model import TabularModel, calibrate
from serving.models.spec import Isotonic, NoCalibration, Platt
from tests.serving.models import toy

MATRIX = np.random.default_rng(3).normal(size=(50, 13))


def test_a_saved_model_answers_as_before(tmp_path: Path) -> None:
    booster, spec = toy.booster(13), toy.spec()
    TabularModel.save(tmp_path, booster, spec)
    loaded = TabularModel.load(tmp_path)
    raw = booster.predict(MATRIX)
    expected = 1 / (1 + np.exp(-(0.9 * np.log(raw / (1 - raw)) - 0.1)))
    np.testing.assert_allclose(loaded.predict_proba(MATRIX), expected, rtol=1e-12)
    assert loaded.label(0.5) == "wilts"
    assert loaded.label(0.49) == "not wilts"


def test_calibrations() -> None:
    raw = np.array([0.0, 0.25, 0.5, 1.0])
    assert calibrate(NoCalibration(), raw) is raw
    np.testing.assert_allclose(
        calibrate(Platt.model_validate({"parameters": {"slope": 1, "intercept": 0}}), raw), raw, atol=1e-9
    )
    isotonic = Isotonic.model_validate({"parameters": {"x": [0.2, 0.6], "y": [0.1, 0.5]}})
    np.testing.assert_allclose(calibrate(isotonic, raw), [0.1, 0.15, 0.4, 0.5])


def test_a_booster_that_does_not_fit_its_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClearwayError, match="booster has 12 features, the spec 13"):
        TabularModel.save(tmp_path, toy.booster(12), toy.spec())
    TabularModel.save(tmp_path, toy.booster(13), toy.spec())
    (tmp_path / "booster.txt").write_text("nonsense")
    with pytest.raises(ClearwayError, match=r"booster\.txt"):
        TabularModel.load(tmp_path)
