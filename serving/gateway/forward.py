"""Carries predictions from the gateway to an arm, through the router, and reads what comes back.

By aiohttp: httpx takes four times its CPU for a request, which here is most of what the gateway costs.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from fastapi import Request

from serving.errors import ClearwayError
from serving.gateway.answers import ID_HEADER, Refusal
from serving.models import registry
from serving.models.spec import SPEC_FILE, read_spec
from serving.rollout.log import RolloutLog
from serving.rollout.observations import MEASURES_HEADER, Observation, ObservationWriter, parse_measures, parse_split
from serving.rollout.read import read_state
from serving.rollout.state import ModelState
from serving.routing.envoy import STATE_FILE
from serving.routing.router import ARM_HEADER, DRAW_HEADER, NEW_FIELDS_HEADER, SPLIT_HEADER
from serving.settings import Settings

CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 35.0
# The router keeps idle connections for an hour, so the gateway is always the one that closes.
KEEPALIVE_SECONDS = 60.0
MODELS_SECONDS, RELEASE_SECONDS = 0.25, 1.0


@dataclass(frozen=True)
class _Answer:
    """What an arm answered; ``tried``: the arm was drawn in a rollout, so that stable may answer in its place."""

    status: int
    content: bytes
    arm: str | None
    tried: bool


class Forwarder:
    """One keep-alive client to the router. Made and closed on the event loop that uses it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = settings.routing / STATE_FILE
        self._releases: dict[str, tuple[float, tuple[int, int] | None, str | None, dict[str, str]]] = {}
        self.fallbacks: Callable[[str, str, int], None] = lambda model, arm, status: None
        self._models: tuple[float, list[str]] = (float("-inf"), [])
        self._sticky: dict[str, dict[str, str]] = {}
        self._router = f"http://{settings.host}:{settings.envoy_port}"
        self._admin = f"http://{settings.host}:{settings.envoy_admin_port}/ready"
        self._session: aiohttp.ClientSession | None = None
        self.observations: ObservationWriter | None = None

    @property
    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=512, keepalive_timeout=KEEPALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS),
                headers={"user-agent": "clearway-gateway", "content-type": "application/json"},
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self.observations is not None:
            self.observations.close()

    def models(self) -> list[str]:
        """Models that the router knows, as of a quarter of a second ago."""
        read_at, models = self._models
        if time.monotonic() - read_at > MODELS_SECONDS:
            try:
                state = orjson.loads(self._state.read_bytes())
                models, self._sticky = sorted(state["weights"]), state.get("sticky", {})
            except (OSError, ValueError, KeyError):
                models, self._sticky = [], {}
            self._models = (time.monotonic(), models)
        return models

    async def router_problem(self) -> str | None:
        """Why the router does not take requests, or None."""
        try:
            async with self._client.get(self._admin, timeout=aiohttp.ClientTimeout(total=2)) as response:
                text = (await response.text()).strip()
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"the router does not answer: {error or type(error).__name__}"
        return None if response.status == 200 else f"the router is {text}"

    def user_of(self, model: str, request: Request) -> str | None:
        """Who asks, while a release tells the model's users apart; None at other times and of nobody."""
        sticky = self._sticky.get(model)
        if sticky is None:
            return None
        named = request.cookies if sticky["by"] == "cookie" else request.headers
        return named.get(sticky["name"]) or None

    def draw(self, model: str, user: str | None) -> dict[str, str]:
        """The number by which the router draws the arm: of a user always the same, for as long as one release."""
        sticky = self._sticky.get(model)
        if sticky is None:
            return {}
        if user is None:
            return {DRAW_HEADER: str(secrets.randbits(63))}
        digest = hashlib.sha256(f"{sticky['salt']}\0{user}".encode()).digest()
        return {DRAW_HEADER: str(int.from_bytes(digest[:8], "big") >> 1)}

    async def predict(self, model: str, body: bytes, ident: str, caller: str, user: str | None = None) -> bytes:
        """The arm's answer, as it wrote it.

        Args:
            body: JSON that the arm's ``/predict`` takes.
            user: as :meth:`user_of` says.

        Raises:
            Refusal: the arm refused, or nobody could answer.
        """
        stable, new_fields = self._release(model)
        headers = {ID_HEADER: ident, "x-clearway-caller": caller, **new_fields}
        answer = await self._ask(model, body, {**headers, **self.draw(model, user)}, user)
        if answer.status != 200 and answer.tried and stable not in (None, answer.arm):
            # What the new version refuses or fails at, stable may answer: users are not the ones to pay for a trial.
            self.fallbacks(model, str(answer.arm), answer.status)
            answer = await self._ask(model, body, {**headers, ARM_HEADER: str(stable)}, None)
        if answer.status == 200:
            return answer.content
        raise refusal_of(model, answer.status, answer.content)

    async def _ask(self, model: str, body: bytes, headers: dict[str, str], user: str | None) -> _Answer:
        """One attempt, recorded for the gates of a rollout when the router drew the arm."""
        at, started = time.time(), time.perf_counter()
        try:
            url = f"{self._router}/models/{model}/predict"
            async with self._client.post(url, data=body, headers=headers) as response:
                content = await response.read()
        except TimeoutError as error:
            raise Refusal(504, "timeout", f"model {model} did not answer in {ANSWER_SECONDS:.0f} s") from error
        except aiohttp.ClientError as error:
            message = "the router is being restarted; send the request again"
            raise Refusal(503, "router_unavailable", message) from error
        drawn = ARM_HEADER not in headers
        if drawn:
            self._observe(model, headers[ID_HEADER], response, at, (time.perf_counter() - started) * 1000, user)
        return _Answer(
            response.status,
            content,
            response.headers.get(ARM_HEADER),
            drawn and SPLIT_HEADER in response.headers and response.status != 504,  # who waited for long waits no more
        )

    def _release(self, model: str) -> tuple[str | None, dict[str, str]]:
        """The stable arm, and the header that names the fields it is to pass over; as of a second ago."""
        looked_at, mark, arm, header = self._releases.get(model, (float("-inf"), None, None, {}))
        if time.monotonic() - looked_at > RELEASE_SECONDS:
            try:
                stat = RolloutLog(model, self._settings).path.stat()
                if mark != (stat.st_size, stat.st_mtime_ns):
                    mark = (stat.st_size, stat.st_mtime_ns)
                    state = read_state(model, self._settings)
                    arm, new = state.stable, new_fields(state, self._settings)
                    header = {NEW_FIELDS_HEADER: ",".join(new)} if new else {}
            except (ClearwayError, OSError):
                mark, arm, header = None, None, {}
            self._releases[model] = (time.monotonic(), mark, arm, header)
        return arm, header

    def _observe(
        self, model: str, ident: str, response: aiohttp.ClientResponse, at: float, latency_ms: float, user: str | None
    ) -> None:
        """Record what became of a request, for the gates of rollouts."""
        arm = response.headers.get(ARM_HEADER)
        if self.observations is None or arm is None:
            return
        rollout, percent = parse_split(response.headers.get(SPLIT_HEADER))
        measures = {
            **parse_measures(response.headers.get(MEASURES_HEADER)),
            "latency_ms": round(latency_ms, 3),
            "refused": float(400 <= response.status < 500),
        }
        self.observations.write(Observation(at, ident, model, arm, response.status, rollout, percent, measures, user))


def new_fields(state: ModelState, settings: Settings) -> list[str]:
    """Request fields of the version that is being tried which the stable one does not know."""
    rollout, stable = state.running, state.arms.get(state.stable or "")
    if rollout is None or not rollout.gated or stable is None:
        return []
    folders = [registry.cache_folder(state.model, v, settings) for v in (rollout.version, stable.version)]
    if not all((folder / SPEC_FILE).exists() for folder in folders):
        return []
    tried, known = ({field.name for field in read_spec(folder).request} for folder in folders)
    return sorted(tried - known)


def refusal_of(model: str, status: int, content: bytes) -> Refusal:
    """What an arm's or the router's refusal means to the caller."""
    error: dict[str, Any]
    try:
        error = dict(orjson.loads(content)["error"])
        reason, message = str(error.pop("reason")), str(error.pop("message"))
    except (ValueError, KeyError, TypeError):
        # Not JSON: the router's own words for an arm that cannot be reached.
        if status in (503, 504):
            return Refusal(503, "arm_unavailable", f"no server of model {model} can be reached; send the request again")
        return Refusal(502, "bad_answer", f"model {model} answered with status {status}")
    if status == 503 or 400 <= status < 500:
        return Refusal(status, reason, message, **error)
    return Refusal(502, reason, message)
