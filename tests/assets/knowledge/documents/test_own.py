"""The project's own knowledge as documents, also of a home that has none yet."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assets.domains import Domain, load_domain
from assets.knowledge.documents import own as module
from assets.knowledge.documents.own import collect_own
from assets.knowledge.documents.own_briefs import briefs
from assets.knowledge.documents.own_decisions import releases, reviews
from assets.knowledge.documents.own_definitions import contracts, metrics
from assets.knowledge.documents.own_documents import number, told
from assets.knowledge.documents.own_models import model_cards
from assets.knowledge.documents.own_values import MonthlyValues, _values, main_dimension, monthly_values
from assets.monitoring.record import Record, Records
from assets.warehouse.manifest import Manifest, Model
from serving.errors import ClearwayError
from serving.models.registry import Version
from serving.rollout.log import RolloutLog
from serving.rollout.state import Rollout
from serving.semantics.catalogue import Catalogue, Dimension, Metric
from serving.settings import Settings
from tests.running import SECOND_DOMAIN

JAN, FEB = date(2013, 1, 1), date(2013, 2, 1)
SITE = Dimension("site_name", "pump__site_name", "Site name", "")
CODE = Dimension("site", "pump__site", "Site", "")


def metric(name: str, label: str, kind: str = "simple", **more: Any) -> Metric:
    values = {"inputs": (), "accumulates": False, "models": ("fct_pumps",), "dimensions": {}, "meta": {}, **more}
    return Metric(name=name, label=label, description=f"{label}, a test.", kind=kind, **values)


CATALOGUE = Catalogue(
    {
        "pumps": metric("pumps", "Pumps"),
        "running": metric("running", "Running pumps", meta={"better": "higher"}),
        "failure_rate": metric(
            "failure_rate",
            "Failure rate",
            "ratio",
            inputs=("pumps",),
            meta={"better": "lower", "words": {"en": ["bad"]}},
        ),
    }
)
VALUES = MonthlyValues(
    table="fct_pumps",
    totals={
        "pumps": {JAN: 1000, FEB: 1205},
        "running": {JAN: 10, FEB: 8},
        "failure_rate": {JAN: 0.25, FEB: 0.2},
    },
    dimension="Site name",
    members={
        "pumps": {FEB: {"North": 700, "South": 400, "West": 100, "Tiny": 5}},
        "running": {FEB: {"North": 5, "South": 2, "West": 1}},
        "failure_rate": {FEB: {"North": 0.3, "South": 0.1, "West": 0.15, "Tiny": 0.0}},
    },
    base="pumps",
)


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain(SECOND_DOMAIN)


def manifest(folder: Path) -> Manifest:
    empty = {"semantic_models": [], "metrics": [], "project_configuration": {"time_spines": []}}
    (folder / "semantic_manifest.json").write_text(json.dumps(empty))
    table = Model("fct_pumps", "m", "marts", "marts", "One pump a row.", "table", {}, (), (), (), (), "models/fct.sql")
    return Manifest(folder, "f", {"fct_pumps": table}, {}, {}, {})


def test_contracts(domain: Domain) -> None:
    found = {d.uid: d for d in contracts(domain, {"contract": ("staff",)})}
    loans = found["document:own/contract/loans"]
    source = domain.sources["loans"]
    assert loans.access == "staff"
    assert ("Source", "source.loans") in loans.links
    assert all(column.name in loans.text for column in source.columns)
    assert all(rule.description in loans.text for rule in source.rules)
    assert len(found) == len(domain.sources)


def test_metrics(tmp_path: Path) -> None:
    found = {d.uid: d for d in metrics(manifest(tmp_path), CATALOGUE)}
    rate = found["document:own/metric/failure_rate"]
    assert "It is made of Pumps." in rate.text
    assert "Lower is better." in rate.text
    assert "It is also called bad." in rate.text
    assert "One pump a row." in rate.text
    assert rate.links == (("Metric", "failure_rate"), ("Metric", "pumps"), ("Table", "fct_pumps"))
    assert "Made of it: Failure rate." in found["document:own/metric/pumps"].text


def version(number: str, facts: str) -> Version:
    tags = {"clearway.facts": facts, "clearway.gates": "passed", "clearway.commit": "abc"}
    return Version("late_return", number, 1_385_856_000_000, "run1", ("champion",) if number == "1" else (), tags)


def test_model_cards(domain: Domain) -> None:
    facts = {
        "scores": {"auc": {"value": 0.75, "low": 0.7, "high": 0.8}, "plain": 1.0},
        "gates": [{"gate": "floor", "passed": False, "observed": "0.6", "expected": "at least 0.7"}],
        "months": [{"period": "2013-05-01", "auc": 0.7}],
        "training_set": {"from": "2013-01-01", "rows": 10, "inputs": {"x": "y"}},
        "refit": False,
        "further": {"a": [1, None]},
    }
    first, last = model_cards({"late_return": [version("10", json.dumps(facts)), version("9", "{}")]}, domain.models)
    assert (first.uid, last.uid) == ("document:own/model_card/late_return-9", "document:own/model_card/late_return-10")
    assert domain.models["late_return"].title in last.text
    for words in ("auc: 0.75 (0.7 to 0.8)", "floor failed: observed 0.6; expected at least 0.7", "2013-05-01",
                  "from 2013-01-01, rows 10", "further: a 1; none", "Commit: abc"):  # fmt: skip
        assert words in last.text
    assert last.links == (("ModelVersion", "late_return.10"), ("Model", "late_return"))
    assert last.metadata["date"] == "2013-12-01"
    (other,) = model_cards({"other": [version("1", "{}")]}, {})
    assert "Aliases: champion" in other.text
    with pytest.raises(ClearwayError, match=r"late_return, version 1: its tag clearway\.facts"):
        model_cards({"late_return": [version("1", "{")]}, {})


RECORD = {
    "model": "pumps", "version": "2", "replaced": "1", "strategy": "canary", "outcome": "rolled_back",
    "why": "too many errors", "requested_by": "ann", "request_reason": "it is newer", "approved_by": None,
    "submitted_at": "2013-02-01T00:00:00+00:00", "decided_at": "2013-02-02T00:00:00+00:00", "smoke": {"errors": 0},
    "gates": {}, "evidence": None, "trained_from": {"as_of": "2013-01-01", "snapshots": {"x": 1}},
    "steps": [{"at": "2013-02-01", "what": "stepped", "percent": 5, "why": "sound", "by": None}],
}  # fmt: skip


def test_releases() -> None:
    decided = Rollout("pumps-v2-ab", "pumps", "2", "rolled_back", {}, record=RECORD)
    (made,) = releases([decided, Rollout("pumps-v3-ab", "pumps", "3", "queued", {})])
    assert made.uid == "document:own/decision/release-pumps-v2-ab"
    assert made.title == "Release of pumps, version 2: rolled back"
    for words in ("in place of version 1", "Reason: too many errors", "stepped at 5%, because sound", "errors 0",
                  "as of 2013-01-01"):  # fmt: skip
        assert words in made.text
    assert made.links == (("Model", "pumps"), ("ModelVersion", "pumps.2"), ("ModelVersion", "pumps.1"))


def test_reviews() -> None:
    record = Record(
        "pumps", "2013-02-01", 1, "2013-03-01", "2", "retrain", "it saves more than it costs", "2013-02-01",
        "2013-03-01", {"saving": 12.5}, {"estimated": 0.4}, [{"slice": "north", "raised_on": "2013-02-03"}],
        {"never": "keep"}, {"version": "2", "previous": "1", "saved": 0.1, "low": 0.05, "high": 0.2},
    )  # fmt: skip
    (made,) = reviews([record])
    assert made.title == "Review of pumps, February 2013: retrain"
    for words in ("it saves more than it costs", "saving 12.5", "Version 2 saved 0.1000", "north", "never keep"):
        assert words in made.text
    assert made.links == (("Model", "pumps"), ("ModelVersion", "pumps.2"))


def test_briefs() -> None:
    january, february = briefs([VALUES], CATALOGUE)
    assert february.uid == "document:own/brief/fct_pumps-2013-02"
    assert february.title == "Operations brief on pumps, February 2013"
    sections = {"/".join(s.path): s.text for s in february.sections}
    assert sections["Pumps"] == (
        "Pumps in February 2013: 1,205, against 1,000 in January 2013: 205 (20.5%) higher. "
        "By site name, highest: North 700; lowest: West 100."
    )
    assert sections["Failure rate"] == (
        "Failure rate in February 2013: 0.2, against 0.25 in January 2013: 0.05 (20.0%) lower, which is better. "
        "By site name, best: South 0.1; worst: North 0.3."
    ), "Tiny has too few pumps to be the best"
    assert "higher, which" not in sections["Running pumps"], "a sum is no better for being of a longer month"
    assert "Better than in January 2013: Failure rate." in sections[""]
    assert "There is no month before it." in january.text
    assert ("Metric", "failure_rate") in february.links
    gone = Catalogue({"pumps": CATALOGUE.metrics["pumps"]})
    assert "Failure rate" not in briefs([VALUES], gone)[1].text
    assert briefs([], CATALOGUE) == []


class Engine:
    """Answers as the engine of the semantic layer does."""

    def __init__(self, members: dict[str, frozenset[Any] | None]) -> None:
        self.members = members

    def values(self, metrics: tuple[str, ...], dimension: str) -> frozenset[Any] | None:
        return self.members[dimension]

    def query(self, query: Any) -> Any:
        columns = (*query.group_by, "metric_time", *query.metrics)
        groups = [("North",), ("South",), (None,)] if query.group_by else [()]
        rows = tuple((*group, JAN, *(1.0 if m == "pumps" else None for m in query.metrics)) for group in groups)
        return SimpleNamespace(columns=columns, rows=rows)


def test_values_by_month() -> None:
    shared = {d.qualified: d for d in (CODE, SITE)}
    catalogue = Catalogue({n: metric(n, n, dimensions=shared, meta={}) for n in ("pumps", "other")})
    engine: Any = Engine({CODE.qualified: frozenset("abc"), SITE.qualified: frozenset({"North", "South", "West"})})
    assert main_dimension(engine, catalogue, ["pumps"]) == SITE, "names come before codes"
    found = _values(engine, catalogue, "fct_pumps", list(catalogue.metrics.values()))
    assert found.totals == {"pumps": {JAN: 1.0}}
    assert found.members == {"pumps": {JAN: {"North": 1.0, "South": 1.0}}}
    assert (found.dimension, found.base) == ("Site name", "pumps")
    numbers: Any = Engine({CODE.qualified: None, SITE.qualified: frozenset({1, 2, 3})})
    assert main_dimension(numbers, catalogue, ["pumps"]) is None
    assert main_dimension(numbers, catalogue, []) is None


def test_an_empty_home_has_contracts_only_and_stays_empty(tmp_path: Path, domain: Domain) -> None:
    home = tmp_path / "home"
    (tmp_path / "dbt").mkdir()
    found = collect_own(Settings(home=home), domain, manifest(tmp_path / "dbt"))
    assert {d.kind for d in found} == {"contract"}
    assert not home.exists()
    assert monthly_values(home / "warehouse.duckdb") == []


def test_a_home_with_decisions(tmp_path: Path, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    monkeypatch.setattr(module, "registered", lambda _: {"late_return": [version("1", "{}")]})
    log = RolloutLog("pumps", settings)
    log.path.parent.mkdir(parents=True)
    log.append("submitted", "r1", plan={"version": "2", "strategy": "canary"})
    log.append("rolled_back", "r1", reason="errors", record=RECORD)
    Records(settings.reviews, "pumps").write(Record("pumps", "2013-02-01", 1, "2013-03-01", "2", "wait", "calm"))
    found = collect_own(settings, domain, manifest(tmp_path), {"decision": ("board",)})
    assert [(d.uid, d.access) for d in found if d.kind != "contract"] == [
        ("document:own/model_card/late_return-1", ""),
        ("document:own/decision/release-r1", "board"),
        ("document:own/decision/review-pumps-2013-02-1", "board"),
    ]


def test_how_values_are_told() -> None:
    assert [number(v) for v in (1234567.8, 3, 0.123456, -12.0, 999.96)] == ["1,234,568", "3", "0.1235", "-12", "1000"]
    assert told({"a_b": [1.5, None, True], "c": {}}) == "a b 1.5; none; yes, c "
