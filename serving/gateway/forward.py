"""Carries predictions from the gateway to an arm, through the router, and reads what comes back."""

from __future__ import annotations

import time
from typing import Any

import httpx
import orjson

from serving.gateway.answers import ID_HEADER, Refusal
from serving.routing.envoy import STATE_FILE
from serving.settings import Settings

CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 35.0
MODELS_SECONDS = 0.25


class Forwarder:
    """One keep-alive client to the router."""

    def __init__(self, settings: Settings) -> None:
        self._state = settings.routing / STATE_FILE
        self._models: tuple[float, list[str]] = (float("-inf"), [])
        # The router keeps idle connections for an hour, so the client is always the one that closes.
        self._client = httpx.AsyncClient(
            base_url=f"http://{settings.host}:{settings.envoy_port}",
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=512, max_keepalive_connections=128, keepalive_expiry=60),
            trust_env=False,
        )
        self._admin = f"http://{settings.host}:{settings.envoy_admin_port}/ready"

    async def close(self) -> None:
        await self._client.aclose()

    def models(self) -> list[str]:
        """Models that the router knows, as of a quarter of a second ago."""
        read_at, models = self._models
        if time.monotonic() - read_at > MODELS_SECONDS:
            try:
                models = sorted(orjson.loads(self._state.read_bytes())["weights"])
            except (OSError, ValueError, KeyError):
                models = []
            self._models = (time.monotonic(), models)
        return models

    async def router_problem(self) -> str | None:
        """Why the router does not take requests, or None."""
        try:
            response = await self._client.get(self._admin, timeout=2)
        except httpx.HTTPError as error:
            return f"the router does not answer: {error or type(error).__name__}"
        return None if response.status_code == 200 else f"the router is {response.text.strip()}"

    async def predict(self, model: str, body: bytes, ident: str, caller: str) -> bytes:
        """The arm's answer, as it wrote it.

        Args:
            body: JSON that the arm's ``/predict`` takes.

        Raises:
            Refusal: the arm refused, or nobody could answer.
        """
        headers = {"content-type": "application/json", ID_HEADER: ident, "x-clearway-caller": caller}
        try:
            response = await self._client.post(f"/models/{model}/predict", content=body, headers=headers)
        except httpx.TimeoutException as error:
            raise Refusal(504, "timeout", f"model {model} did not answer in {ANSWER_SECONDS:.0f} s") from error
        except httpx.HTTPError as error:
            raise Refusal(503, "router_unavailable", "the router is being restarted; send the request again") from error
        if response.status_code == 200:
            return response.content
        raise _refusal(model, response)


def _refusal(model: str, response: httpx.Response) -> Refusal:
    """What an arm's or the router's refusal means to the caller."""
    error: dict[str, Any]
    try:
        error = dict(orjson.loads(response.content)["error"])
        reason, message = str(error.pop("reason")), str(error.pop("message"))
    except (ValueError, KeyError, TypeError):
        # Not JSON: the router's own words for an arm that cannot be reached.
        if response.status_code in (503, 504):
            return Refusal(503, "arm_unavailable", f"no server of model {model} can be reached; send the request again")
        return Refusal(502, "bad_answer", f"model {model} answered with status {response.status_code}")
    if response.status_code == 503 or 400 <= response.status_code < 500:
        return Refusal(response.status_code, reason, message, **error)
    return Refusal(502, reason, message)
