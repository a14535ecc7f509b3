"""Folds never see their future; calibration repairs what it is fitted on; the search is repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.training.spec import Learner
from assets.training.tabular.fit import calibrate, fit, folds
from assets.training.tabular.scores import losses
from serving.models.model import calibrate as apply_calibration
from serving.models.spec import Isotonic, Platt


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(50, 500))
@settings(max_examples=50, deadline=None)
def test_a_fold_is_fitted_only_on_what_came_before_it(seed: int, count: int, size: int) -> None:
    times = np.random.default_rng(seed).integers(0, 10_000, size)
    cuts = folds(times, count)
    assert len(cuts) == count
    for fit_rows, held in cuts:
        if len(fit_rows) and len(held):
            assert times[fit_rows].max() < times[held].min()
    held_rows = np.concatenate([held for _, held in cuts])
    assert len(np.unique(held_rows)) == len(held_rows)


def test_platt_and_isotonic_undo_a_distortion() -> None:
    generator = np.random.default_rng(3)
    p = generator.uniform(0.02, 0.7, 20_000)
    labels = (generator.random(p.size) < p).astype(float)
    logit = np.log(p / (1 - p))
    distorted = 1 / (1 + np.exp(-(2 * logit + 1)))
    before = losses(labels, distorted).mean()
    platt = Platt.model_validate(calibrate("platt", distorted, labels))
    assert (platt.parameters.slope, platt.parameters.intercept) == pytest.approx((0.5, -0.5), abs=0.05)
    isotonic = Isotonic.model_validate(calibrate("isotonic", distorted, labels))
    for calibration in (platt, isotonic):
        after = losses(labels, apply_calibration(calibration, distorted)).mean()
        assert after < before - 0.05
    assert calibrate("none", distorted, labels) == {"kind": "none"}


def test_fit_learns_a_signal_and_is_repeatable() -> None:
    generator = np.random.default_rng(5)
    size = 3000
    matrix = np.column_stack([generator.normal(size=size), generator.integers(0, 4, size).astype(float)])
    p = 1 / (1 + np.exp(-(1.5 * matrix[:, 0] + np.array([-1, 0, 1, 0])[matrix[:, 1].astype(int)])))
    labels = (generator.random(size) < p).astype(float)
    learner = Learner.model_validate(
        {
            "trials": 2,
            "folds": 2,
            "rounds": 60,
            "fixed": {"learning_rate": 0.1, "deterministic": True},
            "search": {"num_leaves": {"low": 4, "high": 16, "integer": True}},
        }
    )
    told: list[str] = []
    fitted = [fit(matrix, labels, np.arange(size), learner, [1], 1, told.append) for _ in range(2)]
    assert fitted[0].booster.model_to_string() == fitted[1].booster.model_to_string()
    assert fitted[0].parameters["num_leaves"] == fitted[1].parameters["num_leaves"]
    assert max(fitted[0].fold_losses) < 0.6 < losses(labels, np.full(size, labels.mean())).mean() + 0.01
    assert len(told) == 4


def test_what_a_fold_held_out_is_judged_by_as_many_trees_as_the_version_has() -> None:
    import lightgbm

    generator = np.random.default_rng(6)
    matrix = generator.normal(size=(2500, 4))
    labels = (generator.random(2500) < 1 / (1 + np.exp(-2 * matrix[:, 0] * matrix[:, 1]))).astype(float)
    declared = {"folds": 3, "rounds": 200, "early_stopping": 5, "calibration": "none",
                "fixed": {"learning_rate": 0.2, "deterministic": True, "num_leaves": 8}}  # fmt: skip
    found = fit(matrix, labels, np.arange(2500), Learner.model_validate(declared), [], 1, lambda _: None)
    assert found.rounds < 200
    for (rows, held), loss in zip(folds(np.arange(2500), 3), found.fold_losses, strict=True):
        anew = lightgbm.train(
            found.parameters, lightgbm.Dataset(matrix[rows], labels[rows], params={"max_bin": 255}), found.rounds
        )
        assert loss == pytest.approx(losses(labels[held], np.asarray(anew.predict(matrix[held]))).mean(), abs=1e-9)
