"""What ``/docs`` says of the routes for language models."""

from __future__ import annotations

from typing import Any

from serving.gateway.docs import NO_KEY, NO_SCOPE, SECURITY, UNKNOWN, _refusal

BUSY = _refusal("tokens_per_minute", "key 'me' may use 10000 tokens a minute; wait 3.2 s")
SILENT = _refusal("timeout", "model a_model gave no token in 30 s")
ANSWERS = {401: NO_KEY, 403: NO_SCOPE, 404: UNKNOWN, 429: BUSY, 503: _refusal("arm_unavailable", "…"), 504: SILENT}


def _route(summary: str, example: dict[str, Any]) -> dict[str, Any]:
    body = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {
        "summary": summary,
        "description": (
            "OpenAI's protocol; `stream: true` answers by server-sent events. A stream whose server dies ends with an "
            "event that holds `error`. 429 says in `Retry-After` when to come again."
        ),
        "tags": ["language models"],
        "responses": ANSWERS,
        "openapi_extra": {**SECURITY, "requestBody": {"required": True, "content": body}},
    }


CHAT = _route("Chat", {"model": "a_model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64})
COMPLETIONS = _route("Complete a text", {"model": "a_model", "prompt": "Hello", "max_tokens": 64})
