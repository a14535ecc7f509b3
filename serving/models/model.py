"""A booster with its spec and calibration: saved by training, loaded by the server."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.errors import ClearwayError
from serving.models.inputs import Matrix
from serving.models.spec import BOOSTER_FILE, SPEC_FILE, Calibration, Isotonic, ModelSpec, Platt, read_spec

if TYPE_CHECKING:
    import lightgbm

# The raw probability is kept this far from 0 and 1 before its logit is taken.
EPSILON = 1e-12


def calibrate(calibration: Calibration, raw: Matrix) -> Matrix:
    """Calibrated probabilities of raw ones, same shape."""
    if isinstance(calibration, Platt):
        clipped = np.clip(raw, EPSILON, 1 - EPSILON)
        logit = np.log(clipped / (1 - clipped))
        return 1 / (1 + np.exp(-(calibration.parameters.slope * logit + calibration.parameters.intercept)))
    if isinstance(calibration, Isotonic):
        return np.interp(raw, calibration.parameters.x, calibration.parameters.y)
    return raw


class TabularModel:
    """A binary LightGBM booster whose columns are ``spec.inputs``, in order."""

    def __init__(self, booster: lightgbm.Booster, spec: ModelSpec, num_threads: int = 1) -> None:
        if booster.num_feature() != len(spec.inputs):
            raise ClearwayError(
                f"model {spec.model!r}: the booster has {booster.num_feature()} features, the spec {len(spec.inputs)}",
                todo="train and register the version again with the spec it was trained by.",
            )
        self.booster, self.spec, self.num_threads = booster, spec, num_threads

    @staticmethod
    def save(folder: Path, booster: lightgbm.Booster, spec: ModelSpec) -> None:
        """Write the two files of a version into ``folder`` (made if needed). Inputs must match the booster's count."""
        TabularModel(booster, spec)
        folder.mkdir(parents=True, exist_ok=True)
        booster.save_model(str(folder / BOOSTER_FILE))
        (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2))

    @classmethod
    def load(cls, folder: Path, num_threads: int = 1) -> TabularModel:
        """Load a version's folder.

        Raises:
            ClearwayError: a file is missing or malformed, or booster and spec disagree.
        """
        # One OpenMP pool a server: two cores are shared by several servers.
        os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))
        import lightgbm

        spec = read_spec(folder)
        try:
            booster = lightgbm.Booster(model_file=str(folder / BOOSTER_FILE))
        except lightgbm.basic.LightGBMError as error:
            raise ClearwayError(f"{folder / BOOSTER_FILE}: {error}", todo="register the version again.") from error
        return cls(booster, spec, num_threads)

    def predict_proba(self, matrix: Matrix) -> Matrix:
        """Calibrated probability of the positive label, shape (rows,)."""
        raw = np.asarray(self.booster.predict(matrix, num_threads=self.num_threads), dtype=np.float64)
        return calibrate(self.spec.calibration, raw)

    def label(self, probability: float) -> str | None:
        """The positive label at or above the threshold, ``not <label>`` below; None when there is no threshold."""
        if self.spec.threshold is None or math.isnan(probability):
            return None
        positive = self.spec.positive_label
        return positive if probability >= self.spec.threshold else f"not {positive}"
