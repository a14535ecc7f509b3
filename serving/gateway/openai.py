"""Language models by OpenAI's protocol: ``/v1/chat/completions`` and ``/v1/completions``, streamed or whole.

Never a hung caller: until an answer begins, an arm that fails or is silent for too long is replaced by stable, once;
after that a broken stream ends with an error event within the version's ``between_tokens_s``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from fastapi import FastAPI, Request, Response

from serving.gateway import openai_docs as docs
from serving.gateway.answers import ID_HEADER, Refusal, plain, refused, request_id
from serving.gateway.keys import Caller
from serving.gateway.limits import Limits
from serving.gateway.llm_exchange import Exchange
from serving.gateway.llm_metrics import LLMMetrics, Recorder, measures
from serving.gateway.llm_models import ServedModels
from serving.gateway.llm_shadow import Shadows
from serving.gateway.llm_stream import DONE, BrokenStream, ClosingStream, content, error_event, only_usage
from serving.gateway.llm_upstream import Failed, Opened, Upstream, message_of
from serving.llm.spec import LLMSpec
from serving.models.body import MAX_BODY, BodyTooLarge, read_body
from serving.rollout.observations import Observation
from serving.routing.router import ARM_HEADER

if TYPE_CHECKING:
    from serving.gateway.app import Gateway

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# A prompt of n bytes has at most about this many tokens a byte; what was too much is given back at the end.
TOKENS_A_BYTE = 0.5


class LLMGateway:
    """State of the gateway's part for language models, and the work behind its routes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.models = ServedModels(gateway.settings)
        self.limits = Limits()
        self.recorder = Recorder(gateway.settings, LLMMetrics(gateway.metrics.registry))
        self.recorder.observers.append(self._observe)
        self._upstream = Upstream(gateway.settings)
        self._shadows = Shadows(self._upstream, self.models, self.recorder.metrics)

    async def close(self) -> None:
        await self._shadows.close()
        await self._upstream.close()
        self.recorder.close()

    def _observe(self, record: dict[str, Any]) -> None:
        """Hand a record to the rollouts' gates."""
        observations = self._gateway.forwarder.observations
        if observations is None or record["arm"] is None:
            return
        names = ("at", "request_id", "model", "arm", "status", "rollout", "percent", "user")
        known = {name: record[name] for name in names}
        observations.write(Observation(**known, measures=measures(record)))

    async def answer(self, request: Request, kind: str) -> Response:
        """The answer to one request, refusals included; counted here, recorded when it is over."""
        started = time.perf_counter()
        model, reason = "unknown", None
        try:
            exchange = await self._admit(request, kind)
            model = exchange.model
            try:
                response = await self._carry(request, exchange)
            except BaseException:
                exchange.finish()
                raise
        except Refusal as refusal:
            kind_of = TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
            refusal.more = {"type": kind_of, "code": refusal.reason, "param": None, **refusal.more}
            response, reason = refused(request, refusal), refusal.reason
            model = str(refusal.more.pop("of", model))
            if refusal.status == 429:
                self.recorder.metrics.limited.labels(model, refusal.reason).inc()
        self._gateway.metrics.observe(kind, model, response.status_code, time.perf_counter() - started, reason)
        return response

    async def _admit(self, request: Request, kind: str) -> Exchange:
        caller = self._gateway.authorise(request, "predict")
        try:
            raw = await read_body(request)
        except BodyTooLarge as error:
            raise Refusal(413, "body_too_large", f"the body exceeds {MAX_BODY} bytes") from error
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refusal(422, "invalid_request", "expected an object")
        return self._admitted(request, kind, caller, body, len(raw))

    async def complete(self, request: Request, caller: Caller, body: dict[str, Any]) -> Exchange:
        """A whole chat completion for another route of the gateway; the exchange holds what was answered, and by whom.

        Raises:
            Refusal: no version is released, a limit is reached, or nobody gave a sound answer.
        """
        exchange = self._admitted(request, "chat.completions", caller, body, len(orjson.dumps(body)))
        try:
            response = await self._carry(request, exchange)
        except BaseException:
            exchange.finish()
            raise
        if response.status_code != 200 or exchange.opened is None:
            raise Refusal(502, "bad_answer", f"model {exchange.model} refused: {bytes(response.body)[:200]!r}")
        return exchange

    def _admitted(self, request: Request, kind: str, caller: Caller, body: dict[str, Any], size: int) -> Exchange:
        model = body.get("model")
        known = self._gateway.forwarder.models()
        served = self.models.find(model) if isinstance(model, str) and model in known else None
        if served is None or not isinstance(model, str):
            listed = self.models.among(known)
            message = f"no language model {model!r:.80} is served; there is: {', '.join(listed) or 'none yet'}"
            raise Refusal(404, "unknown_model", message, models=listed)
        try:
            ticket = self.limits.admit(caller, model, largest_cost(body, size, served.spec), served.spec.limit)
        except Refusal as refusal:
            refusal.more["of"] = model
            raise
        self.recorder.metrics.running.labels(model).inc()
        return Exchange(
            self.recorder, self.limits, self.models, kind, request_id(request), caller.id, model, served, body, ticket
        )

    async def _carry(self, request: Request, exchange: Exchange) -> Response:
        body = exchange.request
        options = body.get("stream_options") or {}
        # Options that are no object are the server's to refuse.
        asked_usage = not exchange.streamed or not isinstance(options, dict) or bool(options.get("include_usage"))
        sent = body if asked_usage else {**body, "stream_options": {**options, "include_usage": True}}
        headers = {ID_HEADER: exchange.ident, "x-clearway-caller": exchange.caller}
        forwarder = self._gateway.forwarder
        exchange.user = forwarder.user_of(exchange.model, request)
        headers |= forwarder.draw(exchange.model, exchange.user)
        self._shadows.begin(exchange, route(exchange.kind), forwarder.observations)
        try:
            opened = await self._open(exchange, sent, headers)
        except Failed as failed:
            exchange.failed(failed)
            raise Refusal(failed.status, failed.reason, failed.message) from failed
        exchange.opened = opened
        named = {ARM_HEADER: opened.arm} if opened.arm else {}
        if opened.rest is not None:
            stream = self._relay(exchange, opened, asked_usage)
            return ClosingStream(stream, exchange.finish, {ID_HEADER: exchange.ident, **named})
        status = opened.response.status
        try:
            parsed = orjson.loads(opened.body)
            exchange.ended(status, None if status == 200 else "refused")
            if status == 200:
                opened.answer.read_body(parsed)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
            exchange.ended(502, "bad_answer")
            raise Refusal(502, "bad_answer", f"model {exchange.model} gave no sound answer") from error
        exchange.finish()
        return plain(request, opened.body, status, named)

    async def _open(self, exchange: Exchange, body: dict[str, Any], headers: dict[str, str]) -> Opened:
        """The first attempt that begins to answer: of the arm that the router draws, else of stable."""
        path, spec, stable = route(exchange.kind), exchange.served.spec, exchange.served.stable
        others = [arm for arm, weight in exchange.served.state.weights.items() if weight and arm != stable]
        try:
            opened = await self._upstream.attempt(exchange.model, path, body, headers, spec)
        except Failed as failed:
            if failed.arm == stable or (failed.arm is None and not others):
                failed.arm = stable
                raise
            first = failed
        else:
            refusal = opened.refusal()
            if refusal is None or opened.arm == stable:
                return opened
            opened.response.close()
            first = refusal
        try:
            opened = await self._upstream.attempt(exchange.model, path, body, headers, spec, stable)
        except Failed:
            exchange.failed_over(first)
            raise
        if first.arm is None and len(others) == 1:
            # An arm that gave no sign has no header to tell it by; since stable answers, it was the other.
            first.arm, first.split = others[0], exchange.served.split
        exchange.failed_over(first)
        return opened

    async def _relay(self, exchange: Exchange, opened: Opened, asked_usage: bool) -> AsyncIterator[bytes]:
        spec, event = exchange.served.spec, opened.first
        assert opened.rest is not None
        try:
            found = content(event)
            while event != DONE:
                if asked_usage or not only_usage(found):
                    yield event + b"\n\n"
                async with asyncio.timeout(spec.between_tokens_s):
                    following = await anext(opened.rest, None)
                if following is None:
                    raise BrokenStream("its server ended in the middle of the answer")
                event, found = following, content(following)
                if "error" in found:
                    raise BrokenStream(message_of(found))
                opened.answer.read_event(found)
            exchange.ended(200)
            yield DONE + b"\n\n"
        except TimeoutError:
            exchange.ended(504, "timeout")
            message = f"model {exchange.model} was silent for {spec.between_tokens_s:g} s; the answer is incomplete"
            yield error_event("timeout", message, exchange.ident)
        except (aiohttp.ClientError, BrokenStream) as error:
            exchange.ended(502, "arm_died")
            message = f"the answer of model {exchange.model} is incomplete: {error or type(error).__name__}"
            yield error_event("arm_died", message, exchange.ident)


def route(kind: str) -> str:
    """The path of a kind of request at the server."""
    return f"/v1/{kind.replace('chat.', 'chat/')}"


def largest_cost(body: dict[str, Any], size: int, spec: LLMSpec) -> int:
    """The most tokens that a request of ``size`` bytes can cost, prompt and answers together."""
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    answers = body.get("n")
    many = answers if isinstance(answers, int) and answers > 0 else 1
    if not isinstance(asked, int) or asked < 0:
        return spec.max_model_len * many
    return min(spec.max_model_len, int(size * TOKENS_A_BYTE) + asked) * many


def add_routes(app: FastAPI, gateway: Gateway) -> LLMGateway:
    """The protocol's routes; ``/v1/models`` is the catalog's. The caller closes what is returned."""
    llm = LLMGateway(gateway)

    @app.post("/v1/chat/completions", **docs.CHAT)
    async def chat_completions(request: Request) -> Response:
        return await llm.answer(request, "chat.completions")

    @app.post("/v1/completions", **docs.COMPLETIONS)
    async def completions(request: Request) -> Response:
        return await llm.answer(request, "completions")

    return llm
