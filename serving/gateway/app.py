"""The gateway: ``python -m serving.gateway.app`` listens on ``settings.gateway_port``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from serving.errors import ClearwayError
from serving.gateway import docs, feeds, knowledge, openai, pages, questions, rollouts, tools
from serving.gateway.answers import Refusal, plain, refused, request_id
from serving.gateway.catalog import Catalog
from serving.gateway.forward import Forwarder
from serving.gateway.keys import Caller, KeyRing
from serving.gateway.metrics import GatewayMetrics
from serving.models.body import MAX_BODY, BodyTooLarge, read_body
from serving.rollout.observations import ObservationWriter
from serving.settings import Settings, get_settings

log = logging.getLogger(__name__)


class Gateway:
    """State of the gateway and the work behind its routes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = KeyRing(settings)
        self.metrics = GatewayMetrics()
        self.catalog = Catalog(settings)
        self.forwarder = Forwarder(settings)
        self.forwarder.fallbacks = self.metrics.fell_back

    def authorise(self, request: Request, *scopes: str) -> Caller:
        """The caller, who has one of ``scopes``. Raises Refusal 401, 403, or 503 when keys cannot be read."""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise Refusal(401, "no_key", "send a key: Authorization: Bearer <key>")
        try:
            caller = self.keys.caller(key.strip())
        except ClearwayError as error:
            log.error("%s", error)
            raise Refusal(503, "keys_unavailable", "keys cannot be checked at the moment") from error
        if caller is None:
            raise Refusal(401, "bad_key", "the key is not known")
        if not caller.scopes.intersection(scopes):
            raise Refusal(
                403,
                "scope_missing",
                f"key {caller.id!r} has scope {', '.join(sorted(caller.scopes))}; this needs {' or '.join(scopes)}",
            )
        return caller

    async def predict(self, request: Request, model: str) -> bytes:
        """The arm's answer. Raises Refusal."""
        caller = self.authorise(request, "predict")
        try:
            body = await read_body(request)
        except BodyTooLarge as error:
            message = f"the body exceeds {MAX_BODY} bytes; send fewer requests a call"
            raise Refusal(413, "body_too_large", message) from error
        known = self.forwarder.models()
        if model not in known:
            listed = ", ".join(known) or "none yet"
            raise Refusal(404, "unknown_model", f"no model {model!r:.80} is served; there is: {listed}", models=known)
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
        if not isinstance(parsed, dict | list):
            raise Refusal(422, "invalid_request", "expected one request (an object) or a list of requests")
        wrapped = b'{"requests":' + (body if isinstance(parsed, list) else b"[" + body + b"]") + b"}"
        return await self.forwarder.predict(
            model, wrapped, request_id(request), caller.id, self.forwarder.user_of(model, request)
        )

    async def answer_prediction(self, request: Request, model: str) -> Response:
        """:meth:`predict`, refusals answered and everything counted."""
        started = time.perf_counter()
        reason = None
        try:
            response = plain(request, await self.predict(request, model))
        except Refusal as refusal:
            response, reason = refused(request, refusal), refusal.reason
        label = model if model in self.forwarder.models() else "unknown"
        self.metrics.observe("predictions", label, response.status_code, time.perf_counter() - started, reason)
        return response

    def preload(self) -> None:
        """Import what is slow to import before somebody waits for it."""
        import jsonschema  # noqa: F401

        try:
            self.catalog.models()
        except Exception:  # the first real call reports it
            log.warning("the registry could not be read at start", exc_info=True)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The gateway's application."""
    gateway = Gateway(settings or get_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gateway.forwarder.observations = ObservationWriter(gateway.settings)
        threading.Thread(target=gateway.preload, name="preload", daemon=True).start()
        await run_in_threadpool(told.recover)
        yield
        await llm.close()
        await gateway.forwarder.close()
        await run_in_threadpool(told.close)
        await mcp.close()

    app = FastAPI(title="Clearway", description=docs.DESCRIPTION, version="1", lifespan=lifespan)
    docs.add_examples(app, gateway.settings)

    @app.exception_handler(Refusal)
    async def on_refusal(request: Request, refusal: Refusal) -> Response:
        return refused(request, refusal)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        reasons = {404: "not_found", 405: "method_not_allowed"}
        reason = reasons.get(error.status_code, "refused")
        return refused(request, Refusal(error.status_code, reason, f"{error.detail}; see /docs"))

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        return refused(request, Refusal(500, "fault", "the gateway failed; the request id is in its log"))

    @app.post("/v1/predictions/{model}", **docs.PREDICTIONS)
    async def predictions(request: Request, model: str) -> Response:
        return await gateway.answer_prediction(request, model)

    @app.get("/v1/models", **docs.MODELS)
    async def models(request: Request) -> Response:
        gateway.authorise(request, "read", "predict", "operate")
        return plain(request, await run_in_threadpool(gateway.catalog.models))

    rollouts.add_routes(app, gateway)
    told = feeds.add_routes(app, gateway)
    llm = openai.add_routes(app, gateway)
    questions.add_routes(app, gateway, llm)
    knowledge.add_routes(app, gateway)
    pages.add_routes(app)
    mcp = tools.add_routes(app)

    @app.get("/healthz", **docs.HEALTH)
    async def healthz(request: Request) -> Response:
        return plain(request, {"status": "live"})

    @app.get("/readyz", **docs.READY)
    async def readyz(request: Request) -> Response:
        problem = await gateway.forwarder.router_problem()
        if problem:
            raise Refusal(503, "not_ready", problem)
        return plain(request, {"status": "ready", "models": gateway.forwarder.models()})

    @app.get("/metrics", **docs.METRICS)
    async def metrics() -> Response:
        return Response(gateway.metrics.render(), media_type="text/plain; version=0.0.4")

    return app


def main() -> None:
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = get_settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.gateway_port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
