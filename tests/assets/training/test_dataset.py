"""The pairs of a real warehouse: of its own values, drawn once for what they depend on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assets.training.llm import dataset
from assets.training.llm.dataset import known, make
from serving.errors import ClearwayError
from serving.semantics.engine import MetricEngine
from serving.semantics.query import MetricQuery
from serving.semantics.reply import read
from tests.dbt_project.fixtures import warehouse  # noqa: F401

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(warehouse: Path) -> MetricEngine:  # noqa: F811
    return MetricEngine(warehouse.parent / "target" / "semantic_manifest.json", warehouse)


def test_pairs_name_what_the_warehouse_has_and_their_queries_are_answered(
    engine: MetricEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "COUNTS", {("en", "train"): 120, ("en", "combination"): 20, ("ko", "train"): 30})
    told: list[str] = []
    made = make(engine, tmp_path, 7, told.append)
    lines = [json.loads(line) for line in made.path.read_text().splitlines()]
    assert made.new
    assert len(lines) == made.card["pairs"] == sum(c["pairs"] for c in made.card["counts"]) == 170
    assert made.card["dimensions"]["origin"] == 3
    assert "request_id" not in made.card["dimensions"], "nobody names an id"
    assert (made.card["first"][:7], made.card["last"]) == ("2013-02", "2013-03-31")
    answered = 0
    for line in lines[::12]:
        reply = read(line["reply"])
        if isinstance(reply, MetricQuery):
            engine.query(reply)
            answered += 1
    assert answered > 5
    again = make(engine, tmp_path, 7, told.append)
    assert not again.new
    assert again.card == made.card
    assert "drawn before" in told[-1]
    other = make(engine, tmp_path, 8, told.append)
    assert other.path != made.path
    monkeypatch.setattr(dataset, "VALUES", 2)
    assert len(known(engine).dimensions["origin"].values) == 2


def test_an_empty_warehouse_has_nothing_to_ask(engine: MetricEngine, tmp_path: Path) -> None:
    none = MetricEngine(engine._manifest_file, tmp_path / "none.duckdb")
    with pytest.raises(ClearwayError, match="no published warehouse"):
        make(none, tmp_path, 7, lambda _: None)
    assert list(tmp_path.iterdir()) == []
