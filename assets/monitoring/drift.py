"""The one adapter of Evidently: what was served beside a reference, as a page to read and as numbers.

Evidently 0.7.23, whose interface changed at 0.7, is named here and nowhere else. Where either sample has up to 1,000
rows it tests at a level of 0.05 (Kolmogorov-Smirnov, chi-square), above that it measures a distance against 0.1 (normed
Wasserstein, Jensen-Shannon), so figures of the two kinds do not compare. Its own rule looks at the reference only: of
50 rows beside 5,000 the distance is above 0.1 by chance.

Drift says that inputs are others than they were, of which a season is enough; it says nothing about harm. It explains,
and triggers nothing by itself.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assets.monitoring.psi import psi
from assets.monitoring.risk import log_losses
from assets.training.tabular.scores import auc
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "category"]
SCORE, LABEL = "score", "label"
CONSTANT = "constant"
# Up to so many rows a distance is mostly chance.
TESTED_ROWS = 1000
TESTS = {"ks": "K-S p_value", "chisquare": "chi-square p_value"}


@dataclass(frozen=True)
class ColumnDrift:
    """One column beside its reference.

    Attributes:
        method: Evidently's name of it, or ``constant`` where both samples hold one value each.
        statistic: a p-value (its name ends so) or a distance.
        threshold: drifted below it for a p-value, at or above it for a distance.
        psi: population stability index, which nothing is decided by.
    """

    column: str
    kind: Kind
    method: str
    statistic: float
    threshold: float
    drifted: bool
    psi: float


@dataclass(frozen=True)
class Quality:
    """Share of missing cells among the inputs, and inputs that hold one value only, by sample."""

    missing_reference: float
    missing_current: float
    constant_reference: tuple[str, ...]
    constant_current: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """A sample's labelled rows.

    Attributes:
        rows: how many.
        positive_share: of label 1.
        log_loss: mean, in nats.
        auc: None when there is one class only.
        accuracy: at the model's threshold; None without one.
    """

    rows: int
    positive_share: float
    log_loss: float
    auc: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Comparison:
    """A report.

    Attributes:
        html: a whole page, UTF-8, 5 to 6 MB, most of it Evidently's own script; it loads nothing from elsewhere.
        rows_reference, rows_current: rows that were compared.
        features: one an input, in the order of ``kinds``.
        score: of the model's answers.
        label: target drift; None unless both samples have labels.
        reference, current: None where no row has a label.
    """

    html: bytes
    rows_reference: int
    rows_current: int
    features: tuple[ColumnDrift, ...]
    score: ColumnDrift
    label: ColumnDrift | None
    quality: Quality
    reference: Figures | None
    current: Figures | None

    @property
    def drifted_share(self) -> float:
        """Share of the inputs that drifted."""
        return sum(c.drifted for c in self.features) / len(self.features)


def sample(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows, drawn without replacement, in their order; the same for the same frame and seed."""
    if len(frame) <= rows:
        return frame.reset_index(drop=True)
    return frame.sample(rows, random_state=seed).sort_index().reset_index(drop=True)


def compare(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Mapping[str, Kind],
    rows: int,
    seed: int,
    threshold: float | None = None,
) -> Comparison:
    """Compare two samples.

    Args:
        reference, current: a column for each input of ``kinds`` (float64, or texts for a category), ``score`` in
            [0, 1], and optionally ``label`` (1, 0, or missing where it is not known), shape (rows, columns).
        kinds: the inputs.
        rows, seed: of the sample of each frame, which bounds what a report costs.
        threshold: probability from which an answer is positive.

    Raises:
        ClearwayError: a frame has no row, a column is missing, unknown, or has no value.
    """
    for name, frame in (("reference", reference), ("current", current)):
        _check(name, frame, kinds)
    first, second = sample(reference, rows, seed), sample(current, rows, seed)
    for name, frame in (("reference", first), ("current", second)):
        _refuse_empty(name, frame, [*kinds, SCORE])
    constant = {name: _constants(frame, kinds) for name, frame in (("reference", first), ("current", second))}
    still = set(constant["reference"]) & set(constant["current"])
    moving = {name: kind for name, kind in kinds.items() if name not in still}
    labelled = [frame.dropna(subset=[LABEL]) if LABEL in frame else frame.head(0) for frame in (first, second)]
    html, found = _evidently(first, second, moving, labelled, threshold)

    def column(name: str, kind: Kind, one: pd.DataFrame, two: pd.DataFrame) -> ColumnDrift:
        stability = psi(one[name], two[name])
        if name in still:
            other = one[name].dropna().iloc[0] != two[name].dropna().iloc[0]
            return ColumnDrift(name, kind, CONSTANT, float(other), 1.0, bool(other), stability)
        method, statistic, limit = found[name]
        drifted = statistic < limit if method.endswith("p_value") else statistic >= limit
        return ColumnDrift(name, kind, method, statistic, limit, drifted, stability)

    return Comparison(
        html,
        len(first),
        len(second),
        tuple(column(name, kind, first, second) for name, kind in kinds.items()),
        column(SCORE, "number", first, second),
        column(LABEL, "category", labelled[0], labelled[1]) if LABEL in found else None,
        Quality(
            float(first[list(kinds)].isna().to_numpy().mean()),
            float(second[list(kinds)].isna().to_numpy().mean()),
            constant["reference"],
            constant["current"],
        ),
        _figures(labelled[0], threshold),
        _figures(labelled[1], threshold),
    )


def without_values(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> list[str]:
    """Inputs of which every row is missing, which :func:`compare` refuses."""
    return [name for name in kinds if frame[name].isna().all()]


def _check(where: str, frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> None:
    if not len(frame):
        raise ClearwayError(f"the {where} has no row, so there is nothing to compare.", todo="give at least one row.")
    if missing := [name for name in (*kinds, SCORE) if name not in frame]:
        raise ClearwayError(f"the {where} has no column {', '.join(missing)}.", todo="give every input and the score.")
    if unknown := [str(name) for name in frame if name not in kinds and name not in (SCORE, LABEL)]:
        raise ClearwayError(f"the {where} has a column {', '.join(unknown)} of no known kind.", todo="leave it out.")
    if not kinds:
        raise ClearwayError("no input to compare was named.", todo="name at least one.")


def _refuse_empty(where: str, frame: pd.DataFrame, names: list[str]) -> None:
    if empty := [name for name in names if frame[name].isna().all()]:
        raise ClearwayError(
            f"every value of {', '.join(empty)} is missing in the {where}: its distribution is unknown.",
            todo="leave such columns out and say so, or find out why nothing arrives.",
        )


def _constants(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    return tuple(name for name in kinds if frame[name].nunique() == 1)


def _figures(labelled: pd.DataFrame, threshold: float | None) -> Figures | None:
    if labelled.empty:
        return None
    labels, scores = labelled[LABEL].to_numpy(np.float64), labelled[SCORE].to_numpy(np.float64)
    area = auc(labels, scores)
    return Figures(
        len(labels),
        float(labels.mean()),
        float(log_losses(scores, labels).mean()),
        None if math.isnan(area) else area,
        None if threshold is None else float(((scores >= threshold) == (labels == 1)).mean()),
    )


def _evidently(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Mapping[str, Kind],
    labelled: list[pd.DataFrame],
    threshold: float | None,
) -> tuple[bytes, dict[str, tuple[str, float, float]]]:
    """The page, and (method, statistic, threshold) of each input, the score, and the label where both know it."""
    # Importing it takes 6 s and reads this, or tells its makers of the run.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset

    numbers = [name for name, kind in kinds.items() if kind == "number"]
    categories = [name for name, kind in kinds.items() if kind == "category"]

    def run(metrics: list[Any], first: pd.DataFrame, second: pd.DataFrame, definition: DataDefinition) -> Any:
        current, reference = (Dataset.from_pandas(frame, definition) for frame in (second, first))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of correlations of a constant, which its page leaves empty
            return Report(metrics).run(current, reference)

    def methods(*frames: pd.DataFrame) -> tuple[str | None, str | None]:
        return ("ks", "chisquare") if min(map(len, frames)) <= TESTED_ROWS else (None, None)

    inputs = [*kinds, SCORE]
    number, category = methods(reference, current)
    drift = [DataDriftPreset(columns=list(kinds), num_method=number, cat_method=category)] if kinds else []
    page = run(
        [*drift, ValueDrift(column=SCORE, method=number), DataSummaryPreset()],
        reference[inputs],
        current[inputs],
        DataDefinition(numerical_columns=[*numbers, SCORE], categorical_columns=categories),
    )
    found = _drifts(page)
    if all(len(frame) for frame in labelled):
        # In a report of its own: Evidently takes a missing label for a class.
        told = [frame[[SCORE, LABEL]].assign(**{LABEL: frame[LABEL].astype(int).astype(str)}) for frame in labelled]
        both = all(frame[LABEL].nunique() == 2 for frame in labelled)
        judged = run(
            [
                ValueDrift(column=LABEL, method=methods(*told)[1]),
                *([ClassificationPreset(probas_threshold=threshold)] if both else []),
            ],
            told[0],
            told[1],
            DataDefinition(
                numerical_columns=[SCORE],
                categorical_columns=[LABEL],
                classification=[BinaryClassification(target=LABEL, prediction_probas=SCORE, pos_label="1")],
            ),
        )
        found |= _drifts(judged)
        page._widgets += judged._widgets  # one page of both, for which there is no public way
    return page.get_html_str(as_iframe=False).strip().encode(), found


def _drifts(run: Any) -> dict[str, tuple[str, float, float]]:
    return {
        metric["config"]["column"]: (
            TESTS.get(metric["config"]["method"], metric["config"]["method"]),
            float(metric["value"]),
            float(metric["config"]["threshold"]),
        )
        for metric in run.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
