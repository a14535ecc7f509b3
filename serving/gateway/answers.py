"""The form of the gateway's answers: JSON, a request id on each, and refusals that say why."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
from fastapi import Request, Response

from serving.models.requests import REQUEST_ID

ID_HEADER = "x-request-id"
RETRY_SECONDS = 1


class Refusal(Exception):
    """A request that is not answered: HTTP status, a reason for programs, a message for people.

    ``retry_after`` is in seconds, for 429 and 503.
    """

    def __init__(
        self, status: int, reason: str, message: str, *, retry_after: int = RETRY_SECONDS, **more: Any
    ) -> None:
        self.status, self.reason, self.message, self.more = status, reason, message, more
        self.retry_after = retry_after
        super().__init__(message)


def request_id(request: Request) -> str:
    """The caller's request id when it is a sound one, else a new one; the same on every call for one request."""
    found = getattr(request.state, "request_id", None)
    if found is None:
        given = request.headers.get(ID_HEADER, "")
        found = given if REQUEST_ID.match(given) else str(uuid.uuid4())
        request.state.request_id = found
    return str(found)


def plain(request: Request, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer with the request's id."""
    body = content if isinstance(content, bytes) else orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(body, status, {ID_HEADER: request_id(request), **(headers or {})}, media_type="application/json")


def refused(request: Request, refusal: Refusal) -> Response:
    """The answer to a refused request."""
    headers: dict[str, str] = {}
    if refusal.status in (429, 503):
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    error = {"reason": refusal.reason, "message": refusal.message, "request_id": request_id(request), **refusal.more}
    return plain(request, {"error": error}, refusal.status, headers)
