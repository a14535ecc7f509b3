"""Server-sent events of the OpenAI protocol: split, read, ended properly when their server does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

DONE = b"data: [DONE]"
# One event is a few hundred bytes; beyond this the peer does not speak the protocol.
MAX_EVENT = 1 << 20


class BrokenStream(Exception):
    """What arrives is no stream of events."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole events without their closing blank line. Comments and a torn last event are left out."""
    pending = b""
    async for chunk in chunks:
        pending = (pending + chunk).replace(b"\r\n", b"\n")
        *whole, pending = pending.split(b"\n\n")
        for event in whole:
            if event.startswith(b"data:"):
                yield event
        if len(pending) > MAX_EVENT:
            raise BrokenStream(f"an event of more than {MAX_EVENT} bytes")


def content(event: bytes) -> dict[str, Any]:
    """The JSON of an event; empty for the closing one.

    Raises:
        BrokenStream: it is no JSON object.
    """
    if event == DONE:
        return {}
    try:
        found = orjson.loads(event[5:])
    except orjson.JSONDecodeError as error:
        raise BrokenStream(f"an event is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise BrokenStream("an event is no JSON object")
    return found


def only_usage(event: dict[str, Any]) -> bool:
    """Whether the event only tells the tokens, which a caller who did not ask for them does not get."""
    return bool(event.get("usage")) and not event.get("choices")


def error_event(reason: str, message: str, request_id: str) -> bytes:
    """What ends a stream that cannot go on."""
    error = {
        "message": message,
        "type": "server_error",
        "code": reason,
        "param": None,
        "reason": reason,
        "request_id": request_id,
    }
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"


class ClosingStream(StreamingResponse):
    """A stream that calls ``closing`` when it is over, however it ends: also when it never began."""

    def __init__(self, body: AsyncIterator[bytes], closing: Callable[[], None], headers: dict[str, str]) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"cache-control": "no-cache", **headers})
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._closing()
