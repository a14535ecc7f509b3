"""Finds parameters over time-ordered folds, fits LightGBM, and calibrates on what the folds held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assets.training.spec import Learner
from assets.training.tabular.scores import Array, losses

if TYPE_CHECKING:
    import lightgbm
    import optuna


@dataclass(frozen=True)
class Fitted:
    """A fitted learner.

    Attributes:
        booster: fitted on all rows.
        parameters: the chosen LightGBM parameters.
        rounds: boosting rounds, the mean of the folds' best.
        calibration: as :class:`serving.models.spec.ModelSpec` takes it.
        fold_losses: mean log loss of each held-out fold with the chosen parameters, calibrated together.
        trials: (number, value, parameters) of every trial of the search.
    """

    booster: lightgbm.Booster
    parameters: dict[str, Any]
    rounds: int
    calibration: dict[str, Any]
    fold_losses: list[float]
    trials: list[tuple[int, float, dict[str, Any]]] = field(default_factory=list)


def folds(times: NDArray[np.int64], count: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Expanding folds: each is fitted on all that came before and held out on the next stretch of time.

    The rows are cut into ``count + 1`` stretches of equal length in time, so that no fold sees its own future.

    Args:
        times: when each prediction was asked for, in any unit.

    Returns:
        (fit, held out) row indices, ``count`` of them.
    """
    edges = np.linspace(times.min(), times.max() + 1, count + 2)
    return [
        (np.flatnonzero(times < edges[i]), np.flatnonzero((times >= edges[i]) & (times < edges[i + 1])))
        for i in range(1, count + 1)
    ]


def fit(
    matrix: Array,
    labels: Array,
    times: NDArray[np.int64],
    learner: Learner,
    categorical: list[int],
    threads: int,
    progress: Callable[[str], None],
) -> Fitted:
    """Search, fit, calibrate.

    Args:
        matrix: float64, shape (rows, inputs), as ``serving.models.inputs.derive`` makes it.
        labels: 0 or 1, shape (rows,).
        times: when each prediction was asked for.
        categorical: positions of category columns.
        progress: is told of every trial.
    """
    import optuna

    warnings.filterwarnings("ignore", message="Overriding the parameters from Reference Dataset")
    cuts = folds(times, learner.folds)
    fixed = {"objective": "binary", "verbosity": -1, "seed": learner.seed, "num_threads": threads, **learner.fixed}
    # What is binned once is binned for all trials.
    data = [_dataset(matrix, labels, fit_rows, held, categorical, fixed) for fit_rows, held in cuts]
    kept: tuple[float, list[lightgbm.Booster]] = (np.inf, [])  # of the best trial

    def trial_loss(trial: optuna.Trial) -> float:
        nonlocal kept
        parameters = {**fixed, **{name: _suggest(trial, name, r) for name, r in learner.search.items()}}
        found, best_rounds, boosters = [], [], []
        for number, ((_, held), (train, valid)) in enumerate(zip(cuts, data, strict=True)):
            booster = _train(parameters, train, valid, learner)
            boosters.append(booster)
            best_rounds.append(booster.best_iteration or learner.rounds)
            found.append(float(losses(labels[held], _predict(booster, matrix[held], threads)).mean()))
            trial.report(float(np.mean(found)), number)
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("rounds", best_rounds)
        if np.mean(found) < kept[0]:
            kept = (float(np.mean(found)), boosters)
        progress(f"trial {trial.number + 1} of {learner.trials}: log loss {np.mean(found):.4f}")
        return float(np.mean(found))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=learner.seed), pruner=optuna.pruners.MedianPruner(n_startup_trials=4)
    )
    study.optimize(trial_loss, n_trials=learner.trials if learner.search else 1)
    parameters = {**fixed, **_integers(study.best_params, learner)}
    rounds = max(1, round(float(np.mean(study.best_trial.user_attrs["rounds"]))))

    held_probabilities, held_rows = [], []
    for (_, held), (train, _valid), booster in zip(cuts, data, kept[1], strict=True):
        if booster.current_iteration() < rounds:  # it was stopped before
            booster = _train(parameters, train, None, learner, rounds)
        held_probabilities.append(_predict(booster, matrix[held], threads, rounds))
        held_rows.append(held)
    raw, rows = np.concatenate(held_probabilities), np.concatenate(held_rows)
    calibration = calibrate(learner.calibration, raw, labels[rows])
    import lightgbm

    whole = lightgbm.Dataset(
        matrix, labels, categorical_feature=categorical or "auto", params=_binning(fixed), free_raw_data=True
    )
    booster = lightgbm.train(parameters, whole, num_boost_round=rounds)
    done = [(t.number, float(t.value), dict(t.params)) for t in study.trials if t.value is not None]
    return Fitted(
        booster,
        parameters,
        rounds,
        calibration,
        [float(losses(labels[h], p).mean()) for h, p in zip(held_rows, held_probabilities, strict=True)],
        done,
    )


def calibrate(kind: str, raw: Array, labels: Array) -> dict[str, Any]:
    """Calibration of held-out probabilities: Platt (1999) on the logit, or isotonic (Zadrozny and Elkan, KDD 2002)."""
    if kind == "platt":
        from scipy.optimize import minimize

        clipped = np.clip(raw, 1e-12, 1 - 1e-12)
        logit = np.log(clipped / (1 - clipped))

        def objective(x: Array) -> tuple[float, Array]:
            z = x[0] * logit + x[1]
            p = 1 / (1 + np.exp(-z))
            gradient = np.array([np.mean((p - labels) * logit), np.mean(p - labels)])
            return float(np.mean(np.logaddexp(0, z) - labels * z)), gradient

        found = minimize(objective, np.array([1.0, 0.0]), jac=True, method="BFGS").x
        return {"kind": "platt", "parameters": {"slope": float(found[0]), "intercept": float(found[1])}}
    if kind == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        model = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip").fit(raw, labels)
        return {
            "kind": "isotonic",
            "parameters": {"x": model.X_thresholds_.tolist(), "y": model.y_thresholds_.tolist()},
        }
    return {"kind": "none"}


def _binning(fixed: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fixed.items() if k in ("max_bin", "verbosity", "seed", "num_threads", "min_data_in_bin")}


def _dataset(
    matrix: Array,
    labels: Array,
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    categorical: list[int],
    fixed: dict[str, Any],
) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
    import lightgbm

    options = {**_binning(fixed), "feature_pre_filter": False}
    train = lightgbm.Dataset(
        matrix[rows], labels[rows], categorical_feature=categorical or "auto", params=options, free_raw_data=False
    )
    valid = train.create_valid(matrix[held], labels[held])
    train.construct()
    valid.construct()
    return train, valid


def _train(
    parameters: dict[str, Any],
    train: lightgbm.Dataset,
    valid: lightgbm.Dataset | None,
    learner: Learner,
    rounds: int | None = None,
) -> lightgbm.Booster:
    import lightgbm

    if valid is None:
        return lightgbm.train(
            {**parameters, "feature_pre_filter": False}, train, num_boost_round=rounds or learner.rounds
        )
    return lightgbm.train(
        {**parameters, "feature_pre_filter": False},
        train,
        num_boost_round=learner.rounds,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(learner.early_stopping, verbose=False)],
    )


def _predict(booster: lightgbm.Booster, matrix: Array, threads: int, rounds: int | None = None) -> Array:
    """Probabilities by the first ``rounds`` trees, or by the best number of them."""
    return np.asarray(booster.predict(matrix, num_iteration=rounds, num_threads=threads), dtype=np.float64)


def _suggest(trial: optuna.Trial, name: str, r: Any) -> float | int:
    if r.integer:
        return trial.suggest_int(name, int(r.low), int(r.high), log=r.log)
    return trial.suggest_float(name, r.low, r.high, log=r.log)


def _integers(parameters: dict[str, Any], learner: Learner) -> dict[str, Any]:
    return {k: int(v) if learner.search[k].integer else v for k, v in parameters.items()}
