"""Trains and judges one version from two training sets: the months it learns from, and later ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assets.training.spec import ModelDeclaration
from assets.training.tabular import gates
from assets.training.tabular.fit import Fitted, fit
from assets.training.tabular.gates import Verdict
from assets.training.tabular.scores import Array, Score, by_period, score
from serving.models.inputs import derive
from serving.models.model import TabularModel
from serving.models.skew import training_ranges
from serving.models.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Trained:
    """A version before it is registered, with everything that its gates saw."""

    fitted: Fitted
    spec: ModelSpec
    scores: dict[str, Score]
    verdicts: list[Verdict]
    months: list[dict[str, Any]]
    importance: dict[str, float]
    labels: Array
    probabilities: Array
    sample: pd.DataFrame


def train(
    model: ModelDeclaration,
    learn: pd.DataFrame,
    later: pd.DataFrame,
    incumbent: Callable[[pd.DataFrame], Array] | None,
    metadata: dict[str, Any],
    threads: int,
    progress: Callable[[str], None],
    refit: bool = False,
) -> Trained:
    """Fit on ``learn``, judge on ``later``.

    Args:
        learn, later: training sets as ``assets.features.training_set`` stores them.
        incumbent: the champion's probabilities for a frame like ``later``; None when there is no champion.
        metadata: goes into the version's spec.
        refit: fit once more on both, with the parameters that were found, if all gates passed; what was judged is the
            fit before.
    """
    fitted, version = _fit(model, learn, metadata, threads, progress)
    spec = version.spec

    truth = later["_label"].to_numpy(np.float64)
    probabilities = version.predict_proba(derive(spec.inputs, later, later))
    days = _seconds(later) // 86400
    found = score(truth, probabilities, days, model.gates.champion.block_days)
    champion = incumbent(later) if incumbent else None
    verdicts = [
        *gates.floor(model.gates.floor, found),
        gates.champion(model.gates.champion, truth, probabilities, champion, days),
        gates.slices(model.gates.slices, later, truth, probabilities),
        gates.calibration(model.gates.calibration, truth, probabilities),
        gates.schema([i.name for i in model.inputs], spec.input_names),
    ]
    judged = later.assign(_probability=probabilities)
    if refit and all(v.passed for v in verdicts):
        import pandas as pd

        progress("all gates passed: fitting once more, on everything that is known")
        again = with_parameters(model, fitted.parameters)
        everything = pd.concat([learn, later], ignore_index=True)
        fitted, version = _fit(again, everything, {**metadata, "refit": True}, threads, progress)
        spec = version.spec
    gain = fitted.booster.feature_importance("gain")
    return Trained(
        fitted,
        spec,
        found,
        verdicts,
        by_period(judged),
        {n: float(g) for n, g in zip(spec.input_names, gain, strict=True)},
        truth,
        probabilities,
        judged.head(5),
    )


# Parameters of a version that are no learner's: they are said elsewhere.
NOT_FIXED = ("objective", "verbosity", "seed", "num_threads", "rounds")


def with_parameters(model: ModelDeclaration, parameters: dict[str, Any]) -> ModelDeclaration:
    """The model with the parameters of a version in place of a search."""
    fixed = {name: value for name, value in parameters.items() if name not in NOT_FIXED}
    return model.model_copy(
        update={"learner": model.learner.model_copy(update={"fixed": fixed, "search": {}, "trials": 1})}
    )


def fitted_version(model: ModelDeclaration, learn: pd.DataFrame, threads: int) -> Callable[[pd.DataFrame], Array]:
    """Probabilities of a model fitted on ``learn`` as declared, for frames like it; nothing is judged or registered."""
    _, version = _fit(model, learn, {}, threads, lambda _: None)
    return lambda frame: version.predict_proba(derive(version.spec.inputs, frame, frame))


def _fit(
    model: ModelDeclaration,
    learn: pd.DataFrame,
    metadata: dict[str, Any],
    threads: int,
    progress: Callable[[str], None],
) -> tuple[Fitted, TabularModel]:
    spec = model.serving_spec(categories=_categories(model, learn), values=_closed_values(model, learn))
    matrix = derive(spec.inputs, learn, learn)
    labels = learn["_label"].to_numpy(np.float64)
    fitted = fit(matrix, labels, _seconds(learn), model.learner, spec.categorical, threads, progress)
    spec = spec.model_validate({**spec.model_dump(), "calibration": fitted.calibration, "metadata": metadata})
    spec = spec.model_copy(update={"inputs": training_ranges(spec.inputs, matrix)})
    return fitted, TabularModel(fitted.booster, spec, threads)


def _seconds(frame: pd.DataFrame) -> NDArray[np.int64]:
    microseconds = frame["_time"].astype("datetime64[us, UTC]").astype("int64")
    return np.asarray(microseconds // 1_000_000, dtype=np.int64)


def _categories(model: ModelDeclaration, learn: pd.DataFrame) -> dict[str, list[str]]:
    from serving.models.spec import FeatureSource

    found = {}
    for item in model.inputs:
        if item.kind == "category":
            column = item.source.feature if isinstance(item.source, FeatureSource) else item.source.request.fields[0]
            found[item.name] = sorted(str(v) for v in learn[column].dropna().unique())
    return found


def _closed_values(model: ModelDeclaration, learn: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        f.name: sorted(v.item() if hasattr(v, "item") else v for v in learn[f.name].dropna().unique())
        for f in model.request
        if f.closed
    }
