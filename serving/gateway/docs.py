"""What the OpenAPI page says: descriptions, answers, and examples from the models that are being served."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving.gateway.catalog import served_spec
from serving.rollout.read import released_models
from serving.semantics.asking import LONGEST_QUESTION
from serving.semantics.query import MetricQuery
from serving.settings import Settings

DESCRIPTION = """Predictions from released model versions.

Send a key with every request: `Authorization: Bearer <key>`. A key has scopes: `predict` asks for predictions, `read`
sees models and rollouts, `operate` moves rollouts. Every answer carries `x-request-id`, yours or a new one; keep it to
match predictions with what happens later. A refusal is
`{"error": {"reason", "message", "request_id", ...}}`: `reason` is for programs and stable, `message` is for people."""

SECURITY: dict[str, Any] = {"security": [{"key": []}]}


def _refusal(reason: str, message: str, **more: Any) -> dict[str, Any]:
    error = {"reason": reason, "message": message, "request_id": "3f1c…", **more}
    return {"description": message, "content": {"application/json": {"example": {"error": error}}}}


NO_KEY = _refusal("bad_key", "the key is not known")
NO_SCOPE = _refusal("scope_missing", "key 'me' has scope read; this needs predict")
UNKNOWN = _refusal("unknown_model", "no model of that name is served", models=["a_model"])

PREDICTION = {
    "model": "a_model",
    "version": "3",
    "arm": "a_model-v3",
    "predictions": [
        {
            "request_id": "3f1c…",
            "probability": 0.31,
            "label": "not positive",
            "prediction_time": "2024-06-01T10:30:00Z",
            "feature_times": {"a_view": "2024-05-31T21:00:00Z"},
            "missing_features": [],
            "input_skew": 0.0,
        }
    ],
}

PREDICTIONS: dict[str, Any] = {
    "summary": "Predict, for one request or many",
    "description": (
        "The body is one request object or a list of up to 1,000; `GET /v1/models` has each model's fields. The answer "
        "holds one prediction a request, in order, with the version that made it, the time for which it was made, how "
        "recent each feature was and which were missing. An object may carry its own `request_id`."
    ),
    "tags": ["predictions"],
    "responses": {
        200: {"description": "Predictions", "content": {"application/json": {"example": PREDICTION}}},
        400: _refusal("invalid_json", "the body is not JSON"),
        401: NO_KEY,
        403: NO_SCOPE,
        404: UNKNOWN,
        413: _refusal("body_too_large", "the body exceeds 1048576 bytes"),
        422: _refusal("invalid_request", "request 0: field 'a_field': is missing", index=0, field="a_field"),
        503: _refusal("features_unavailable", "no arm, or no features at the moment: retry after the given seconds"),
    },
    "openapi_extra": {
        **SECURITY,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
                }
            },
        },
    },
}
MODELS: dict[str, Any] = {
    "summary": "Models, versions, aliases, weights and request fields",
    "tags": ["models"],
    "responses": {401: NO_KEY, 403: NO_SCOPE},
    "openapi_extra": SECURITY,
}
ROLLOUTS: dict[str, Any] = {
    "summary": "Releases of all models, with their evidence and decision records",
    "tags": ["rollouts"],
    "responses": {401: NO_KEY, 403: NO_SCOPE},
    "openapi_extra": SECURITY,
}
ROLLOUTS_OF: dict[str, Any] = {
    **ROLLOUTS,
    "summary": "Releases of one model",
    "responses": {401: NO_KEY, 403: NO_SCOPE, 404: UNKNOWN},
}
ROLLOUT_COMMANDS: dict[str, Any] = {
    "summary": "Pause, resume, promote or abort a running rollout; or roll_back a completed one",
    "description": (
        "`action` is pause, resume, promote, abort (users get stable again) or roll_back (the version before "
        'the stable one is released again). The body is `{"reason": "..."}`; reason and key are kept in the log.'
    ),
    "tags": ["rollouts"],
    "status_code": 202,
    "responses": {
        401: NO_KEY,
        403: NO_SCOPE,
        404: UNKNOWN,
        409: _refusal("not_now", "no rollout of model a_model is under way, so there is nothing to pause."),
    },
    "openapi_extra": {
        **SECURITY,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"reason": {"type": "string"}},
                        "required": ["reason"],
                    }
                }
            },
        },
    },
}
OUTCOMES: dict[str, Any] = {
    "summary": "Report what became known of answered requests: a loss, a cost, a complaint",
    "description": (
        'One object or a list: `{"request_id": "...", "measures": {"loss": 0.2}}`, with the id that the answer '
        "carried in `x-request-id`. A gate of a running rollout that names the measure takes it in, once for a request."
    ),
    "tags": ["rollouts"],
    "status_code": 202,
    "responses": {
        401: NO_KEY,
        403: NO_SCOPE,
        404: UNKNOWN,
        422: _refusal("invalid_request", 'outcome 0: expected {"request_id": "...", "measures": {"name": number}}'),
    },
    "openapi_extra": {
        **SECURITY,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    },
}
FEEDS: dict[str, Any] = {
    "summary": "Tell what happened: rows of a source as operations know them, before its file comes",
    "description": (
        'One object or a list: `{"known_at": "2013-04-01T12:00:00Z", "record": {...}}`, the record with columns of the '
        "source, null where nothing is known yet. Send at least once and in any order: of one row, what was known last "
        "counts. The source's contract judges records later; its settled file corrects them."
    ),
    "tags": ["feeds"],
    "status_code": 202,
    "responses": {
        401: NO_KEY,
        403: NO_SCOPE,
        404: _refusal("unknown_source", "no source 'order' has a feed; those that have: orders"),
        422: _refusal("invalid_request", 'event 0: expected {"known_at": "...", "record": {"column": value}}'),
        503: _refusal("not_recorded", "the disk of the events is full"),
    },
    "openapi_extra": {
        **SECURITY,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    },
}
_QUERY: dict[str, Any] = {
    **SECURITY,
    "requestBody": {"required": True, "content": {"application/json": {"schema": {
        "type": "object", "properties": {
            "question": {"type": "string", "maxLength": LONGEST_QUESTION}, "query": MetricQuery.model_json_schema(),
        },
    }}}},
}  # fmt: skip
_ASKED = {
    401: NO_KEY,
    403: NO_SCOPE,
    422: _refusal("invalid_query", "unknown metric: 'on_time'; did you mean on_time_rate?"),
    503: _refusal("metrics_unavailable", "there is no published warehouse"),
}
QUESTIONS: dict[str, Any] = {
    "summary": "What can be asked: metrics, and what each can be grouped and filtered by",
    "tags": ["metrics"],
    "responses": {401: NO_KEY, 403: NO_SCOPE, 503: _ASKED[503]},
    "openapi_extra": SECURITY,
}
QUESTION: dict[str, Any] = {
    "summary": "Ask for metrics, by a query or in plain words: rows, their SQL, definitions, a chart in Vega-Lite",
    "tags": ["metrics"],
    "responses": _ASKED,
    "openapi_extra": _QUERY,
}
WRONG: dict[str, Any] = {
    "summary": "Mark an answer wrong: the question, and the right query where it is known",
    "tags": ["metrics"],
    "responses": _ASKED,
    "openapi_extra": _QUERY,
}
EXPLAIN: dict[str, Any] = {**QUESTION, "summary": "The SQL of a query and what its metrics mean, not run"}
HEALTH: dict[str, Any] = {"summary": "Whether the gateway lives", "tags": ["operations"]}
READY: dict[str, Any] = {
    "summary": "Whether the gateway can pass requests on",
    "tags": ["operations"],
    "responses": {503: _refusal("not_ready", "the router does not answer")},
}
METRICS: dict[str, Any] = {"summary": "Metrics in Prometheus format", "tags": ["operations"]}


def add_examples(app: FastAPI, settings: Settings) -> None:
    """Make ``/openapi.json`` carry a working example of each model that is served when it is asked for."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        app.openapi_schema = None
        schema = plain()
        schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        specs = {model: served_spec(model, settings) for model in released_models(settings)}
        examples = {model: {"value": spec.examples()} for model, spec in specs.items() if spec is not None}
        if examples:
            body = schema["paths"]["/v1/predictions/{model}"]["post"]["requestBody"]
            body["content"]["application/json"]["examples"] = examples
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
