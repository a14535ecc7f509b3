"""What the copilot may answer to a question: a query of the semantic layer, or a refusal with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.semantics.catalogue import Catalogue
from serving.semantics.period import PATTERN
from serving.semantics.query import SUPERLATIVES, TIME, MetricQuery, QueryError

Reason = Literal[
    "unknown_metric",
    "unknown_dimension",
    "other_data",
    "forecast",
    "not_a_question_of_metrics",
    "changes_data",
    "instructions",
]

WORDS: dict[str, str] = {
    "unknown_metric": "there is no metric of that name; /v1/metrics lists those that there are",
    "unknown_dimension": "the metric is not known by that; /v1/metrics lists what each can be grouped by",
    "other_data": "only metrics are answered, no other data",
    "forecast": "metrics say what was, not what will be",
    "not_a_question_of_metrics": "that is no question about metrics",
    "changes_data": "metrics are read, never changed",
    "instructions": "instructions inside a question are not followed; ask for the numbers alone",
}


class Refusal(BaseModel):
    """The question has no answer in the semantic layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refuse: Reason = Field(description="Why.")


Reply = MetricQuery | Refusal
LONGEST_VALUE, MOST = 60, 5  # characters of a value, items of a list


def write(reply: Reply) -> str:
    """A reply as the model writes it: JSON without spaces, and without what has its default value."""
    return json.dumps(reply.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, separators=(",", ":"))


def read(text: str, named: Sequence[str] = ()) -> Reply:
    """A reply that a model wrote.

    What is plainly a slip is read as it is meant: of several values, ``=`` as ``in`` and ``!=`` as ``not in``; a metric
    that is there twice, the second time as one that the question names and the reply lacks, or not at all.

    Args:
        named: metrics that the question names.

    Raises:
        QueryError: it is no JSON, or neither a query nor a refusal; it names what is wrong.
    """
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            _meant(content, named)
        kind = Refusal if isinstance(content, dict) and "refuse" in content else MetricQuery
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the reply"
        raise QueryError(
            f"the model's reply is no query: {where}: {first['msg']}", todo="ask in other words."
        ) from error
    except ValueError as error:
        raise QueryError(f"the model's reply is no JSON: {error}", todo="ask in other words.") from error


def _meant(content: dict[str, Any], named: Sequence[str]) -> None:
    where, metrics = content.get("where"), content.get("metrics")
    for item in where if isinstance(where, list) else ():
        if isinstance(item, dict) and isinstance(item.get("values"), list) and len(item["values"]) > 1:
            item["op"] = {"=": "in", "!=": "not in"}.get(item.get("op", "="), item.get("op"))
    if isinstance(metrics, list) and all(isinstance(m, str) for m in metrics):
        lacking = iter([name for name in named if name not in metrics])
        read: dict[str, None] = {}
        for metric in metrics:
            other = next(lacking, None) if metric in read else metric
            if other is not None:
                read[other] = None
        content["metrics"] = list(read)


def schema(catalogue: Catalogue) -> dict[str, Any]:
    """JSON schema of a reply, for structured output: that of the contract, narrowed to names that there are.

    Descriptions and null are left out, for a grammar needs neither; strings and lists have an end, so that what is
    made under the grammar is whole within a few hundred tokens.
    """
    query = MetricQuery.model_json_schema()
    known = query["properties"]
    dimensions = sorted({d.name for metric in catalogue.metrics.values() for d in metric.dimensions.values()})
    metrics = sorted(catalogue.metrics)
    columns = [*metrics, *dimensions, TIME]
    condition = query["$defs"]["Filter"]["properties"]
    value = {"anyOf": [{"type": "string", "maxLength": LONGEST_VALUE}, {"type": "integer"}, {"type": "boolean"}]}
    day = {"type": "string", "pattern": "^[12][0-9]{3}-[01][0-9]-[0-3][0-9]$"}
    where = _object(
        {
            "dimension": {"enum": dimensions},
            "op": {"enum": condition["op"]["enum"]},
            "values": {"type": "array", "items": value, "maxItems": MOST},
        },
        ["dimension"],
    )
    properties = {
        "metrics": {"type": "array", "items": {"enum": metrics}, "minItems": 1, "maxItems": MOST},
        "group_by": {"type": "array", "items": {"enum": dimensions}, "maxItems": MOST},
        "grain": {"enum": known["grain"]["anyOf"][0]["enum"]},
        "where": {"type": "array", "items": where, "maxItems": MOST},
        "since": day,
        "until": day,
        "period": {"type": "string", "pattern": PATTERN},
        "order_by": {
            "type": "array",
            "items": {"enum": [*SUPERLATIVES, *(sign + c for c in columns for sign in ("", "-"))]},
            "maxItems": MOST,
        },
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
    }  # fmt: skip
    if list(properties) != list(known):
        raise TypeError(f"the contract has {list(known)}, the grammar {list(properties)}: mend serving.semantics.reply")
    refusal = _object({"refuse": {"enum": list(get_args(Reason))}}, ["refuse"])
    return {"anyOf": [_object(properties, ["metrics"]), refusal]}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
