"""Questions are checked before anything runs: a small invented manifest, no dbt and no database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.errors import ClearwayError
from serving.semantics.catalogue import Catalogue, load_catalogue
from serving.semantics.filters import condition
from serving.semantics.query import Filter, MetricQuery, QueryError, resolve


def metric(name: str, kind: str = "simple", model: str | None = None, **params: Any) -> dict[str, Any]:
    aggregation = {"semantic_model": model} if model else None
    return {
        "name": name,
        "type": kind,
        "label": name.title(),
        "description": f"All {name}; a count.",
        "type_params": {"metric_aggregation_params": aggregation, "metrics": [], **params},
    }


def model(name: str, key: str, dimensions: list[str], foreign: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "name": name,
        "node_relation": {"alias": f"mart_{name}", "schema_name": "marts", "database": "x"},
        "primary_entity": None,
        "entities": [
            {"name": key, "type": "primary"},
            *({"name": entity, "type": "foreign"} for entity in foreign),
        ],
        "dimensions": [
            {"name": each, "type": "time" if each == "day" else "categorical", "label": None, "description": None}
            for each in dimensions
        ],
    }


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "semantic_manifest.json"
    file.write_text(
        json.dumps(
            {
                "semantic_models": [
                    model("loans", "loan", ["day", "branch", "kind"], ("reader",)),
                    model("readers", "reader", ["town", "kind"]),
                    model("fines", "fine", ["day", "branch"], ("reader",)),
                ],
                "metrics": [
                    metric("loans", model="loans"),
                    metric("late_loans", model="loans"),
                    metric("fines", model="fines"),
                    metric("hidden", model="loans", is_private=True),
                    metric("late_rate", "ratio", numerator={"name": "late_loans"}, denominator={"name": "loans"}),
                    metric("fines_a_loan", "derived", metrics=[{"name": "fines"}, {"name": "loans"}]),
                    metric("loans_so_far", "cumulative", cumulative_type_params={"metric": {"name": "loans"}}),
                ],
                "project_configuration": {"time_spines": [{"node_relation": {"alias": "days"}}]},
            }
        )
    )
    return file


@pytest.fixture
def catalogue(manifest: Path) -> Catalogue:
    return load_catalogue(manifest)


def test_the_catalogue_says_what_each_metric_reads(catalogue: Catalogue) -> None:
    metrics = catalogue.metrics
    assert set(metrics) == {"loans", "late_loans", "fines", "late_rate", "fines_a_loan", "loans_so_far"}
    assert metrics["late_rate"].inputs == ("late_loans", "loans")
    assert metrics["late_rate"].models == ("mart_loans",)
    assert metrics["fines_a_loan"].models == ("mart_fines", "mart_loans")
    assert metrics["loans_so_far"].models == ("mart_loans", "days")
    assert set(metrics["loans"].dimensions) == {"loan__branch", "loan__kind", "reader__town", "reader__kind"}
    assert set(metrics["fines_a_loan"].dimensions) == {"reader__town", "reader__kind"}


def test_reading_the_catalogue_imports_nothing_heavy(manifest: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.semantics.catalogue import load_catalogue;"
        f"load_catalogue(Path({str(manifest)!r}));"
        "assert not {'metricflow', 'dbt', 'duckdb', 'pandas', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_names_are_given_their_full_form(catalogue: Catalogue) -> None:
    found = resolve(MetricQuery(metrics=("loans",), group_by=("branch", "reader__town"), grain="month"), catalogue)
    assert found.group_by == ("loan__branch", "reader__town", "metric_time__month")
    assert list(found.columns) == ["branch", "reader__town", "metric_time", "loans"]
    assert found.order_by == ("metric_time__month", "loan__branch", "reader__town")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"metrics": ["lones"]}, r"unknown metric: 'lones'(.|\n)*did you mean loans"),
        ({"metrics": ["zzz"]}, r"unknown metric: 'zzz'(.|\n)*use one of fines, fines_a_loan"),
        ({"metrics": ["hidden"]}, "unknown metric"),
        ({"metrics": ["loans"], "group_by": ["brunch"]}, r"unknown dimension of loans: 'brunch'(.|\n)*branch"),
        ({"metrics": ["loans"], "group_by": ["kind"]}, r"ambiguous: loan__kind, reader__kind"),
        ({"metrics": ["loans", "fines"], "group_by": ["branch"]}, "unknown dimension of loans, fines: 'branch'"),
        ({"metrics": ["loans"], "where": [{"dimension": "twon", "values": ["x"]}]}, r"'twon'(.|\n)*town"),
        ({"metrics": ["loans"], "order_by": ["-fines"]}, "unknown column to order by: 'fines'"),
        ({"metrics": ["loans"], "group_by": ["branch", "loan__branch"]}, "one dimension twice"),
        ({"metrics": ["loans"], "group_by": ["metric_time"]}, "unknown dimension"),
        ({"metrics": ["loans_so_far"], "grain": "month", "since": "2020-02-02"}, "since .* cuts a month"),
        ({"metrics": ["loans", "loans_so_far"], "grain": "week", "until": "2020-02-05"}, "until .* cuts a week"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_known_ones(
    catalogue: Catalogue, question: dict[str, Any], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        resolve(MetricQuery.model_validate(question), catalogue)


@pytest.mark.parametrize(
    "question",
    [
        {"metrics": []},
        {"metrics": ["a", "a"]},
        {"metrics": ["a"], "grain": "fortnight"},
        {"metrics": ["a"], "limit": 0},
        {"metrics": ["a"], "since": "2020-02-01", "until": "2020-02-01"},
        {"metrics": ["a"], "having": "1=1"},
        {"metrics": ["a"], "where": [{"dimension": "d", "op": "like", "values": ["x"]}]},
        {"metrics": ["a"], "where": [{"dimension": "d", "op": "=", "values": ["x", "y"]}]},
        {"metrics": ["a"], "where": [{"dimension": "d", "op": "in", "values": []}]},
        {"metrics": ["a"], "where": [{"dimension": "d", "op": "is null", "values": ["x"]}]},
    ],
)
def test_a_question_of_the_wrong_form_is_refused(question: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetricQuery.model_validate(question)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Filter(dimension="branch", values=("x",)), "= 'x'"),
        (Filter(dimension="branch", op="!=", values=("it's",)), "<> ('it' || chr(39) || 's')"),
        (Filter(dimension="branch", op="in", values=(1, 2.5, True)), "IN (1, 2.5, TRUE)"),
        (Filter(dimension="branch", op="is not null"), "IS NOT NULL"),
        (Filter(dimension="branch", values=("{{",)), "= (chr(123) || chr(123))"),
        (Filter(dimension="branch", values=("",)), "= ''"),
    ],
)
def test_a_filter_is_written_strictly(catalogue: Catalogue, item: Filter, expected: str) -> None:
    dimension = catalogue.metrics["loans"].dimensions["loan__branch"]
    assert condition(item, dimension) == "{{ Dimension('loan__branch') }} " + expected


def test_values_that_no_literal_can_hold_are_refused(catalogue: Catalogue) -> None:
    dimension = catalogue.metrics["loans"].dimensions["loan__branch"]
    for value in (float("nan"), float("inf"), "a\0b", "\ud800"):
        with pytest.raises(QueryError):
            condition(Filter.model_construct(dimension="branch", op="=", values=(value,)), dimension)


def test_a_broken_manifest_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ClearwayError, match="dbt parse"):
        load_catalogue(tmp_path / "m.json")
