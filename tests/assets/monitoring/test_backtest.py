"""The backtest finds what a retraining would gain, and says nothing from too little."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from assets.monitoring.backtest import half_period
from assets.monitoring.risk import Array
from assets.training.spec import ModelDeclaration
from assets.training.tabular.train import fitted_version

START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
PARAMETERS: dict[str, Any] = {
    "objective": "binary", "verbosity": -1, "seed": 7, "num_threads": 1, "learning_rate": 0.1, "num_leaves": 7,
    "rounds": 40, "deterministic": True,
}  # fmt: skip


@pytest.fixture
def model() -> ModelDeclaration:
    take = {"take": "value", "fields": ["litres"]}
    return ModelDeclaration.model_validate(
        {
            "name": "wilting", "title": "t", "description": "d", "feature_service": "none",
            "examples": {"model": "m", "id": "id", "label": "l", "label_known_at": "k", "event_timestamp": "t",
                         "period": "p"},
            "request": [{"name": "litres", "type": "number", "example": 1.0},
                        {"name": "watering", "type": "timestamp", "example": "2024-01-01T00:00:00Z"}],
            "inputs": [{"name": "litres", "source": {"request": take}}],
            "keys": {}, "prediction_time": {"field": "watering"}, "positive_label": "wilts",
            "train": {"start": "2024-01-01", "end": "2024-02-01"},
            "evaluate": {"start": "2024-02-01", "end": "2024-03-01"},
            "learner": {"trials": 5, "folds": 2, "rounds": 60, "early_stopping": 10,
                        "search": {"num_leaves": {"low": 4, "high": 64, "integer": True}}},
            "gates": {"floor": {"auc": 0.5, "log_loss": 1}, "calibration": {"max_error": 0.5}}, "release": "r",
        }
    )  # fmt: skip


def examples(changes_in_february: bool, rows: int = 9_000) -> pd.DataFrame:
    """A quarter in which more litres mean less wilting; from February on, when that changes, more of it."""
    rng = np.random.default_rng(4)
    times = pd.date_range("2024-01-01", "2024-04-01", periods=rows + 1, tz="UTC", inclusive="left")
    litres = rng.normal(size=rows)
    sign = np.where((times >= "2024-02-01") & changes_in_february, 1.0, -1.0)
    label = rng.random(rows) < 1 / (1 + np.exp(-2 * sign * litres))
    return pd.DataFrame({"litres": litres, "watering": times, "_time": times, "_label": label.astype(int)})


def of_january(model: ModelDeclaration, frame: pd.DataFrame) -> Any:
    old = model.model_copy(
        update={"learner": model.learner.model_copy(update={"search": {}, "fixed": {"num_leaves": 7}})}
    )
    return fitted_version(old, frame[frame["_time"] < "2024-02-01"], 1)


def test_a_change_of_concept_is_worth_a_retraining_and_none_is_not(model: ModelDeclaration) -> None:
    found = {}
    for changes in (True, False):
        frame = examples(changes)
        found[changes] = half_period(model, frame, START, END, of_january(model, frame), PARAMETERS, 1)
    changed, same = found[True], found[False]
    assert changed is not None
    assert same is not None
    assert changed.gain > 0.3
    assert changed.low > 0.1
    assert abs(same.gain) < 0.03
    assert same.low < 0 < same.high or abs(same.gain) < 0.01
    assert changed.rows == same.rows == pytest.approx(1533, abs=10)


def test_the_candidate_sees_nothing_of_what_it_is_judged_on_nor_of_later(
    model: ModelDeclaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets.training.tabular import train

    seen: list[pd.DataFrame] = []
    learners = []

    def spy(declared: ModelDeclaration, learn: pd.DataFrame, threads: int) -> Any:
        seen.append(learn)
        learners.append(declared.learner)
        return lambda later: np.full(len(later), 0.5)

    monkeypatch.setattr(train, "fitted_version", spy)
    judged: list[pd.DataFrame] = []

    def champion(later: pd.DataFrame) -> Array:
        judged.append(later)
        return np.full(len(later), 0.25)

    end = datetime(2024, 3, 21, tzinfo=UTC)
    result = half_period(model, examples(False), START, end, champion, PARAMETERS, 1, least=500)
    assert result is not None
    assert seen[0]["_time"].max() < judged[0]["_time"].min()
    assert judged[0]["_time"].max() < pd.Timestamp(end)
    assert (judged[0]["_time"].min() - pd.Timestamp("2024-03-11", tz="UTC")) < pd.Timedelta(hours=1)
    assert learners[0].search == {}
    assert learners[0].fixed == {"learning_rate": 0.1, "num_leaves": 7, "deterministic": True}


@pytest.mark.parametrize("rows", [60, 900])
def test_from_too_few_labels_nothing_is_said(model: ModelDeclaration, rows: int) -> None:
    frame = examples(False, rows)
    assert half_period(model, frame, START, END, lambda later: np.full(len(later), 0.5), PARAMETERS, 1) is None


def test_a_candidate_that_is_kept_is_judged_as_one_that_is_fitted(model: ModelDeclaration) -> None:
    frame = examples(True)
    champion = of_january(model, frame)
    kept: list[Any] = []

    def fit(declared: ModelDeclaration, learn: pd.DataFrame, threads: int) -> Any:
        if not kept:
            kept.append(fitted_version(declared, learn, threads))
        return kept[0]

    found = [half_period(model, frame, START, END, champion, PARAMETERS, 1, fit=each) for each in (None, fit, fit)]
    assert found[0] == found[1] == found[2]
    assert len(kept) == 1
