"""Reads a request's body up to a limit."""

from __future__ import annotations

from fastapi import Request

MAX_BODY = 1 << 20  # bytes


class BodyTooLarge(Exception):
    """The body is larger than the server takes."""


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The request's body; stops reading beyond ``limit`` bytes and raises BodyTooLarge."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise BodyTooLarge
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge
    return body
