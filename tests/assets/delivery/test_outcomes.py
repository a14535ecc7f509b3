"""A business metric of the semantic layer reaches the gates of an A/B release, request by request, each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assets.delivery.outcomes import check_metrics, report, waiting_for_metrics
from serving.errors import DeclarationError
from serving.rollout.evaluate import Evaluation
from serving.rollout.log import RolloutLog
from serving.rollout.observations import Observation, ObservationTail, ObservationWriter
from serving.rollout.plan import ReleasePlan, parse_plan, read_plan
from serving.semantics.catalogue import load_catalogue
from serving.semantics.engine import MetricEngine
from serving.settings import PROJECT, Settings
from tests.dbt_project.fixtures import warehouse  # noqa: F401

pytestmark = pytest.mark.integration
MODEL, V1, V2 = "arrival_delay", "arrival_delay-v1", "arrival_delay-v2"
METRIC = "decision_cost_per_flight"
AB: dict[str, Any] = {
    "model": MODEL,
    "version": "2",
    "strategy": "ab",
    "segments": {"window_s": 100, "min_users": 5},
    "gates": {"latency": [], "scalars": [{"metric": METRIC, "bounds": [0, 5], "promote_margin": 1}]},
}


@pytest.fixture
def engine(warehouse: Path) -> Iterator[MetricEngine]:  # noqa: F811
    found = MetricEngine(warehouse.parent / "target" / "semantic_manifest.json", warehouse)
    yield found
    found.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Version 1 is stable, version 2 is under an A/B release since before the requests of the warehouse."""
    found = Settings(home=tmp_path)
    log = RolloutLog(MODEL, found)
    first, second = ReleasePlan(model=MODEL, version="1"), parse_plan(AB, "the test's plan")
    for ident, plan, arm in (("r1", first, V1), ("r2", second, V2)):
        log.append("submitted", ident, plan=plan.model_dump(mode="json"), submitted_at="2024-05-01T00:00:00+00:00")
        log.append("starting", ident, arm=arm, ports=[1 if arm == V1 else 2])
        log.append("ready", ident)
        log.append("smoked", ident, evidence={"passed": True})
        if ident == "r1":
            log.append("switched", ident, weights={V1: 100})
            log.append("aliased", ident, alias="champion", version="1", was=None)
            log.append("completed", ident, record={})
    log.append("stepped", "r2", step=0, weights={V1: 50, V2: 50}, elapsed_s=0.0)
    text = log.path.read_text()  # the events of the warehouse were served in May 2024
    began = RolloutLog(MODEL, found).entries()[-1]["at"]
    log.path.write_text(text.replace(began, "2024-05-01T11:00:00.000+00:00"))
    writer = ObservationWriter(found, "gateway")
    for n in range(200):  # user u-k asks r-k, r-(k + 20), ...: always the same version
        arm = V1 if n % 2 == 0 else V2
        writer.write(Observation(n / 10, f"r-{n}", MODEL, arm, 200, "r2", 50, {"latency_ms": 1.0}, f"u-{n % 20}"))
    writer.close()
    return found


def test_values_are_told_once_and_count_by_user(engine: MetricEngine, settings: Settings) -> None:
    assert waiting_for_metrics(MODEL, settings) == "r2"
    told = report(MODEL, engine, settings)
    assert (told.rollout, told.requests) == ("r2", {METRIC: 200}), "r-200 has no label, so no value"
    assert report(MODEL, engine, settings).requests == {}
    from datetime import UTC, datetime

    from serving.semantics.query import Filter, MetricQuery

    today = Filter(dimension="served_on", op=">", values=(datetime.now(UTC).date(),))
    assert engine.query(MetricQuery(metrics=(METRIC,), where=(today,))).rows == ((None,),)

    evaluation = Evaluation(parse_plan(AB, "the test's plan"), "r2", V2)
    found = ObservationTail(settings).read()
    evaluation.take([seen for seen in found if isinstance(seen, Observation)])
    assert evaluation.look().gates[METRIC].new is None
    evaluation.take([seen for seen in found if not isinstance(seen, Observation)])
    late = Observation(500.0, "later", MODEL, V1, 200, "r2", 50, {}, "u-late")
    evaluation.take([late])  # by now the time of all users is over
    gate = evaluation.look().gates[METRIC]
    assert (gate.new_count, gate.stable_count) == (10, 10), "a user counts once"
    costs = dict(engine.query(MetricQuery(metrics=(METRIC,), group_by=("request_id",))).rows)
    for share, odd in ((gate.stable, 0), (gate.new, 1)):
        users = [[costs[f"r-{n}"] for n in range(200) if n % 20 == user] for user in range(odd, 20, 2)]
        assert share == pytest.approx(sum(sum(u) / len(u) for u in users) / len(users))


@pytest.mark.parametrize(
    ("metric", "told", "todo"),
    [
        ("decision_costs", "metric 'decision_costs' does not exist", "did you mean decision_cost_per_flight"),
        (
            "on_time_rate",
            "metric 'on_time_rate' has no dimension arm, model, request_id, served_on",
            "mart of predictions",
        ),
    ],
)
def test_a_metric_that_cannot_gate_is_refused_by_name(engine: MetricEngine, metric: str, told: str, todo: str) -> None:
    gates = {"scalars": [{"metric": metric, "promote_margin": 0.1}]}
    plan = parse_plan({"model": MODEL, "version": "1", "gates": gates}, "the test's plan")
    with pytest.raises(DeclarationError) as caught:
        check_metrics(plan, engine.catalogue(), "releases/x.yaml")
    assert "releases/x.yaml: gates.scalars" in str(caught.value)
    assert told in str(caught.value)
    assert todo in str(caught.value)


def test_every_declared_plan_is_sound(warehouse: Path) -> None:  # noqa: F811
    catalogue = load_catalogue(warehouse.parent / "target" / "semantic_manifest.json")
    files = sorted((PROJECT / "assets" / "domain" / "releases").glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        check_metrics(read_plan(file, version="1"), catalogue, file.name)


def test_without_a_rollout_or_a_metric_nothing_is_told(engine: MetricEngine, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert waiting_for_metrics(MODEL, settings) is None
    assert report(MODEL, engine, settings).requests == {}
    assert not (tmp_path / "observations").exists()
