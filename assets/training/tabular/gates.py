"""The gates between a trained version and the alias ``challenger``. Pure: arrays in, verdicts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assets.training.spec import CalibrationGate, ChampionGate, Floor, SliceGate
from assets.training.tabular.scores import Array, Score, calibration_error, losses, mean_upper

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Verdict:
    """One gate's answer, with what it was judged by."""

    gate: str
    passed: bool
    observed: str
    expected: str


def floor(gate: Floor, scores: dict[str, Score]) -> list[Verdict]:
    """The scores themselves, not their bounds: the floor is what a version must have shown."""
    return [
        Verdict("floor_auc", scores["auc"].value >= gate.auc, str(scores["auc"]), f"at least {gate.auc}"),
        Verdict(
            "floor_log_loss",
            scores["log_loss"].value <= gate.log_loss,
            str(scores["log_loss"]),
            f"at most {gate.log_loss}",
        ),
    ]


def champion(
    gate: ChampionGate, labels: Array, challenger: Array, incumbent: Array | None, days: NDArray[np.int64]
) -> Verdict:
    """Difference of log loss on the same rows, by blocks of days, since the rows of a day are alike.

    The challenger passes when the upper bound of (challenger - champion) is at most the margin: it is shown not to be
    worse by more than that, not merely not shown to be worse. Days of one block show nothing.
    """
    if incumbent is None:
        return Verdict("champion", True, "there is no champion", f"log loss at most {gate.margin} worse")
    difference = losses(labels, challenger) - losses(labels, incumbent)
    upper = mean_upper(difference, days, gate.block_days, gate.confidence)
    return Verdict(
        "champion",
        upper <= gate.margin,
        f"log loss difference {difference.mean():+.5f}, upper bound {upper:+.5f}",
        f"upper bound at most {gate.margin:+.5f} at {gate.confidence:.0%}",
    )


def slices(gate: SliceGate | None, frame: pd.DataFrame, labels: Array, probabilities: Array) -> Verdict:
    """In every large enough slice the model beats predicting the slice's own rate, within the margin."""
    if gate is None:
        return Verdict("slices", True, "no slice is declared", "-")
    loss = losses(labels, probabilities)
    worst: tuple[float, str] = (-np.inf, "no slice has enough rows")
    judged = 0
    for name in gate.fields:
        for value, rows in frame.reset_index(drop=True).groupby(name, dropna=True).groups.items():
            index = np.asarray(rows, dtype=np.int64)
            if len(index) < gate.min_rows:
                continue
            judged += 1
            rate = float(np.clip(labels[index].mean(), 1e-9, 1 - 1e-9))
            entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
            excess = float(loss[index].mean() - entropy)
            worst = max(worst, (excess, f"{name} = {value} ({len(index)} rows): {excess:+.4f}"))
    return Verdict(
        "slices",
        worst[0] <= gate.margin,
        f"worst of {judged}: {worst[1]}",
        f"log loss at most {gate.margin:+.4f} above the slice's own rate, from {gate.min_rows} rows",
    )


def calibration(gate: CalibrationGate, labels: Array, probabilities: Array) -> Verdict:
    error = calibration_error(labels, probabilities)
    return Verdict("calibration", error <= gate.max_error, f"{error:.4f}", f"at most {gate.max_error}")


def schema(expected: list[str], found: list[str]) -> Verdict:
    """A version loaded from its artifact takes the declared inputs, in their order."""
    return Verdict(
        "schema", expected == found, f"{len(found)} inputs", f"the {len(expected)} declared inputs, in order"
    )
