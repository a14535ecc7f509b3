"""Seconds add up by step, job and version."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.monitoring.costs import RunSteps, by_job, by_step, finished, of_versions

RUNS = [
    RunSteps("a", "train", {"models__m": 90.0, "releases__m": 30.0}),
    RunSteps("b", "train", {"models__m": 60.0}),
    RunSteps("c", "ingest", {"raw__r": 10.0}),
]


def test_they_add_up() -> None:
    steps = by_step(RUNS, hour=36.0)
    assert [(s.name, s.runs, s.seconds, s.cost) for s in steps] == [
        ("models/m", 2, 150.0, 1.5),
        ("releases/m", 1, 30.0, 0.3),
        ("raw/r", 1, 10.0, 0.1),
    ]
    assert [(s.name, s.runs, s.seconds) for s in by_job(RUNS, 1)] == [("train", 2, 180.0), ("ingest", 1, 10.0)]
    assert sum(s.seconds for s in steps) == sum(s.seconds for s in by_job(RUNS, 1))
    assert [(s.name, s.seconds) for s in of_versions(RUNS, {"m 1": "a", "m 2": "gone"}, 1)] == [("m 1", 120.0)]


@pytest.mark.integration
def test_they_are_dagsters_own() -> None:
    @dg.asset
    def slow() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([slow], instance=instance)
        (run,) = finished(instance)
    assert set(run.steps) == {"slow"}
    assert run.steps["slow"] >= 0
