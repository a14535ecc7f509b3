"""One attempt to have an arm answer, through the router, up to the first byte of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from serving.gateway.llm_answer import Answer
from serving.gateway.llm_stream import BrokenStream, content, events
from serving.llm.spec import LLMSpec
from serving.routing.router import ARM_HEADER
from serving.settings import Settings

SPLIT = "x-clearway-split"
CONNECT_SECONDS, KEEPALIVE_SECONDS = 2.0, 60.0


class Failed(Exception):
    """No byte of an answer came: an attempt may be made elsewhere. ``arm`` and ``split`` as far as they are known."""

    def __init__(self, status: int, reason: str, message: str, arm: str | None, split: str | None) -> None:
        self.status, self.reason, self.message, self.arm, self.split = status, reason, message, arm, split
        super().__init__(message)


@dataclass
class Opened:
    """An answer that began: a stream whose first event is here, or a whole body."""

    response: aiohttp.ClientResponse
    answer: Answer
    arm: str | None
    split: str | None
    first: bytes = b""
    rest: AsyncIterator[bytes] | None = None
    body: bytes = b""

    def refusal(self) -> Failed | None:
        """That the arm, drawn in a rollout, refused; None otherwise. Stable is asked then: it may take the request."""
        if self.split is None or not 400 <= self.response.status < 500:
            return None
        return Failed(self.response.status, "refused", "the version that is tried refused", self.arm, self.split)


class Upstream:
    """The client to the router. Made and closed on the event loop that uses it."""

    def __init__(self, settings: Settings) -> None:
        self._router = f"http://{settings.host}:{settings.envoy_port}"
        self._session: aiohttp.ClientSession | None = None

    @property
    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit of connections: how many requests there are at once is declared by each model.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"user-agent": "clearway-gateway", "content-type": "application/json"},
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def attempt(self, model: str, path: str, body: dict[str, Any], headers: dict[str, str], spec: LLMSpec,
                      arm: str | None = None) -> Opened:  # fmt: skip
        """Send a request to the arm that the router draws, or to ``arm``.

        Raises:
            Failed: no connection, a status from 500, silence for too long, or a stream that ended before it began.
        """
        url = f"{self._router}/models/{model}{path}"
        wait = spec.first_token_s if body.get("stream") else spec.answer_s
        answer = Answer(time.perf_counter())
        response: aiohttp.ClientResponse | None = None
        seen: dict[str, str | None] = {"arm": arm, "split": None}
        try:
            async with asyncio.timeout(wait):
                own = {ARM_HEADER: arm} if arm else {}
                response = await self._client.post(url, data=orjson.dumps(body), headers={**headers, **own})
                seen = {"arm": response.headers.get(ARM_HEADER, arm), "split": response.headers.get(SPLIT)}
                return await self._begin(model, response, answer, seen)
        except BaseException as error:
            if response is not None:
                response.close()
            if isinstance(error, TimeoutError):
                message = f"model {model} gave no {'token' if body.get('stream') else 'answer'} in {wait:g} s"
                raise Failed(504, "timeout", message, **seen) from error
            if isinstance(error, aiohttp.ClientError | BrokenStream):
                where = "the server of" if response is not None else "the way to"
                raise Failed(503, "arm_died", f"{where} model {model} broke before the answer began", **seen) from error
            raise

    async def _begin(
        self, model: str, response: aiohttp.ClientResponse, answer: Answer, seen: dict[str, str | None]
    ) -> Opened:
        if response.status >= 500:
            raw = await response.read()
            reason, message = _reason(model, response.status, raw)
            raise Failed(response.status, reason, message, **seen)
        opened = Opened(response, answer, seen["arm"], seen["split"])
        if response.content_type != "text/event-stream":
            opened.body = await response.read()
            return opened
        opened.rest = events(response.content.iter_any())
        first = await anext(opened.rest, None)
        if first is None:
            raise Failed(502, "arm_died", f"the server of model {model} ended before its first token", **seen)
        found = content(first)
        if "error" in found:
            raise Failed(502, "arm_failed", message_of(found), **seen)
        answer.read_event(found)
        opened.first = first
        return opened


def message_of(found: dict[str, Any]) -> str:
    """The words of an error in an answer."""
    error = found.get("error")
    return str(error.get("message") if isinstance(error, dict) else error)[:500]


def _reason(model: str, status: int, raw: bytes) -> tuple[str, str]:
    try:
        error = orjson.loads(raw)["error"]
        return str(error.get("reason") or "arm_failed"), str(error["message"])[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not JSON: the router's own words for an arm that cannot be reached.
        if status in (503, 504):
            return "arm_unavailable", f"no server of model {model} can be reached"
        return "arm_failed", f"the server of model {model} answered with status {status}"
