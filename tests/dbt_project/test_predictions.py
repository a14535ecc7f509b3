"""The mart of predictions joins what was served to what became of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.semantics.engine import MetricEngine
from serving.semantics.query import MetricQuery
from tests.dbt_project.building import read

pytestmark = pytest.mark.integration


def test_each_request_is_there_once_with_its_label(warehouse: Path) -> None:
    rows = read(warehouse, "select * from marts.fct_predictions order by served_at, score")
    assert len(rows) == 201
    assert (rows.request_id.nunique(), rows.score.max()) == (201, 1)
    unscheduled = rows[rows.request_id == "r-200"].iloc[0]
    assert unscheduled.isna()[["flight_id", "is_late", "decision_cost", "log_loss"]].all()
    known = rows[rows.request_id != "r-200"]
    assert known.is_late.notna().all()
    assert (known.label_delay_days > 0).all()


def test_costs_and_losses_are_those_of_the_decision(warehouse: Path) -> None:
    rows = read(warehouse, "select * from marts.fct_predictions where is_late is not null")
    late, score = rows.is_late.astype(bool).to_numpy(), rows.score.to_numpy()
    alarmed = score >= 0.5
    cost = np.where(late & ~alarmed, 5.0, np.where(alarmed & ~late, 1.0, 0.0))
    assert set(rows.decision_cost) == {0, 1, 5}
    assert (rows.decision_cost == cost).all()
    truth = np.where(late, score, 1 - score)
    assert rows.log_loss.to_numpy() == pytest.approx(-np.log(np.maximum(truth, 1e-15)))
    assert rows.squared_error.to_numpy() == pytest.approx((score - late) ** 2)


def test_the_semantic_layer_tells_versions_and_requests_apart(warehouse: Path) -> None:
    engine = MetricEngine(warehouse.parent / "target" / "semantic_manifest.json", warehouse)
    try:
        names = (
            "predictions",
            "label_coverage",
            "decision_cost_per_flight",
            "missed_late_rate",
            "prediction_brier_score",
        )
        answer = engine.query(MetricQuery(metrics=names, group_by=("model_version",), order_by=("model_version",)))
        one, two = (dict(zip(answer.columns, row, strict=True)) for row in answer.rows)
        rows = read(warehouse, "select * from marts.fct_predictions")
        for found, version in ((one, "1"), (two, "2")):
            own = rows[rows.model_version == version]
            known = own[own.is_late.notna()]
            late = known[known.is_late.astype(bool)]
            assert found["predictions"] == len(own)
            assert found["label_coverage"] == pytest.approx(len(known) / len(own))
            assert found["decision_cost_per_flight"] == pytest.approx(known.decision_cost.mean())
            assert found["missed_late_rate"] == pytest.approx((~late.alarmed.astype(bool)).mean())
            assert found["prediction_brier_score"] == pytest.approx(known.squared_error.mean())
        each = engine.query(MetricQuery(metrics=("decision_cost_per_flight",), group_by=("request_id",)))
        costs = dict(each.rows)
        assert len(costs) == 201
        assert costs["r-200"] is None
        assert costs == {
            r.request_id: None if np.isnan(r.decision_cost) else r.decision_cost for r in rows.itertuples()
        }
    finally:
        engine.close()
