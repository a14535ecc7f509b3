"""What a model writes is read as a query or a refusal; several values are read as many, whatever the relation says."""

from __future__ import annotations

import json

import pytest

from serving.semantics.query import MetricQuery, QueryError
from serving.semantics.reply import Refusal, read, write


@pytest.mark.parametrize(
    ("op", "values", "meant"),
    [("=", ["A", "B"], "in"), ("!=", ["A", "B"], "not in"), ("in", ["A", "B"], "in"), ("=", ["A"], "="),
     ("!=", ["A"], "!=")],
)  # fmt: skip
def test_several_values_are_read_as_many(op: str, values: list[str], meant: str) -> None:
    found = read(json.dumps({"metrics": ["m"], "where": [{"dimension": "d", "op": op, "values": values}]}))
    assert isinstance(found, MetricQuery)
    assert found.where[0].op == meant
    assert read(write(found)) == found


def test_several_values_without_a_relation_are_any_of_them() -> None:
    found = read('{"metrics": ["m"], "where": [{"dimension": "d", "values": ["A", "B"]}]}')
    assert isinstance(found, MetricQuery)
    assert found.where[0].op == "in"


def test_a_metric_that_is_there_twice_is_read_as_the_one_that_lacks() -> None:
    twice = '{"metrics": ["a", "a"]}'
    assert getattr(read(twice), "metrics", ()) == ("a",)
    assert getattr(read(twice, ["a", "b", "c"]), "metrics", ()) == ("a", "b")
    assert getattr(read('{"metrics": ["a", "b"]}', ["c"]), "metrics", ()) == ("a", "b")


@pytest.mark.parametrize(
    "text",
    ["", "no", "[]", "null", '{"metrics": []}', '{"refuse": "because"}', '{"metrics": ["m"], "where": "d"}',
     '{"metrics": ["m"], "where": [1]}',
     '{"metrics": ["m"], "where": [{"dimension": "d", "op": ">", "values": ["A", "B"]}]}'],
)  # fmt: skip
def test_what_is_neither_is_told(text: str) -> None:
    with pytest.raises(QueryError):
        read(text)


def test_a_refusal_is_read() -> None:
    assert read('{"refuse": "forecast"}') == Refusal(refuse="forecast")
