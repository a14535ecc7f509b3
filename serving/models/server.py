"""The model server: ``python -m serving.models.server --model NAME --version N --port P [--arm ARM] [--replica K]``.

One process, one registry version. It listens at once (/healthz), loads in the background, and is ready (/readyz) when
the model is loaded and the online features can be read.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from serving.errors import ClearwayError
from serving.events.writer import EventsUnavailable, EventWriter
from serving.models.batcher import Batcher, Overloaded
from serving.models.body import MAX_BODY, BodyTooLarge, read_body
from serving.models.features import FeaturesUnavailable
from serving.models.metrics import ServerMetrics
from serving.models.predictor import Call, Predictor
from serving.models.registry import resolve_in_child
from serving.models.requests import RequestError, RequestReader
from serving.rollout.observations import MEASURES_HEADER
from serving.routing.router import NEW_FIELDS_HEADER, NOT_READY_HEADER
from serving.runtime.arms import arm_name, server_name
from serving.settings import Settings, get_settings

log = logging.getLogger(__name__)
RETRY_LOAD_SECONDS = 5.0
READY_CACHE_SECONDS = 0.5
OPTIONS = orjson.OPT_UTC_Z
# 503 reasons, by the error that caused them.
REASONS: dict[type[Exception], str] = {
    FeaturesUnavailable: "features_unavailable",
    EventsUnavailable: "events_unavailable",
    Overloaded: "overloaded",
}


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content, option=OPTIONS), status, headers, media_type="application/json")


class ModelServer:
    """State of one server: loads the version in its own thread, then answers batches there."""

    def __init__(self, model: str, version: str, arm: str, settings: Settings, replica: int = 0) -> None:
        self.model, self.version, self.arm, self.settings = model, version, arm, settings
        self._name = server_name(arm, replica)
        self.metrics = ServerMetrics(model, version, arm)
        self.predictor: Predictor | None = None
        self.reader: RequestReader | None = None
        self.batcher: Batcher[Call | None, list[dict[str, Any]]] | None = None
        self.problem: str | None = "the version is being loaded"
        self._checked = 0.0
        self._stop = threading.Event()
        self._events: EventWriter | None = None
        self._loader = threading.Thread(target=self._load_until_done, name="load", daemon=True)

    def start(self) -> None:
        self._loader.start()

    def stop(self) -> None:
        self._stop.set()
        if self.batcher is not None:
            self.batcher.close()
        if self._events is not None:
            self._events.close()

    def _load_until_done(self) -> None:
        while not self._stop.is_set():
            try:
                self._load()
                return
            except ClearwayError as error:
                self.problem = error.what
                log.error("%s", error)
            except Exception as error:  # stay up and say why: a server that exits is restarted for ever
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("the version could not be loaded")
            self._stop.wait(RETRY_LOAD_SECONDS)

    def _load(self) -> None:
        folder = resolve_in_child(self.model, self.version, self.settings)
        if self._events is None:
            self._events = EventWriter(self.settings.events / self._name, rotate_seconds=self.settings.segment_seconds)
        predictor = Predictor(folder, self.version, self.arm, self._events, self.settings)
        if predictor.spec.model != self.model:
            raise ClearwayError(f"version {self.version} of {self.model} says it is model {predictor.spec.model!r}")
        self.predictor, self.reader = predictor, RequestReader(predictor.spec)
        self.batcher = Batcher(self._work, lambda call: len(call.rows) if call is not None else 0)
        self.problem = None

    def _work(self, calls: Sequence[Call | None]) -> list[list[dict[str, Any]] | Exception]:
        """Answer real calls together; a None asks whether features can be read, in the thread that reads them."""
        assert self.predictor is not None
        real = [call for call in calls if call is not None]
        check: list[dict[str, Any]] | Exception = []
        if len(real) < len(calls):
            try:
                self.predictor.check()
            except Exception as error:
                check = error
        answers: list[list[dict[str, Any]] | Exception] = []
        if real:
            self.metrics.batch.observe(sum(len(call.rows) for call in real))
            try:
                answers = [*self.predictor.answer(real)]
            except Exception as error:
                answers = [error] * len(real)
        found = iter(answers)
        return [check if call is None else next(found) for call in calls]

    async def readiness(self) -> str | None:
        """None when ready, else why not."""
        if self.batcher is None:
            return self.problem
        if time.monotonic() - self._checked > READY_CACHE_SECONDS:
            try:
                await asyncio.wait_for(self.batcher.submit(None), timeout=5)
                self.problem = None
            except TimeoutError:
                self.problem = "the features did not answer within 5 s"
            except ClearwayError as error:
                self.problem = error.what
            self._checked = time.monotonic()
        return self.problem

    async def predict(self, request: Request) -> Response:
        started = time.perf_counter()
        response, reason = await self._predict(request, started)
        self.metrics.count(response.status_code, reason)
        self.metrics.latency.observe(time.perf_counter() - started)
        return response

    async def _predict(self, request: Request, started: float) -> tuple[Response, str | None]:
        def refuse(status: int, reason: str, message: str, **more: Any) -> tuple[Response, str]:
            headers = {"retry-after": "1"} if status == 503 else None
            if reason == "not_ready":
                headers = {"retry-after": "1", NOT_READY_HEADER: "1"}
            return answer({"error": {"reason": reason, "message": message, **more}}, status, headers), reason

        try:
            body = await read_body(request)
        except BodyTooLarge:
            return refuse(413, "body_too_large", f"the body exceeds {MAX_BODY} bytes; send fewer requests a call")
        if self.batcher is None or self.reader is None or self.predictor is None:
            return refuse(503, "not_ready", self.problem or "the version is being loaded")
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return refuse(400, "invalid_json", f"the body is not JSON: {error}")
        ignored = frozenset(filter(None, request.headers.get(NEW_FIELDS_HEADER, "").split(",")))
        try:
            rows = self.reader.read(parsed.get("requests") if isinstance(parsed, dict) else None, ignored)
        except RequestError as error:
            return refuse(422, "invalid_request", str(error), index=error.index, field=error.field)
        call = Call(
            rows=rows,
            request_id=request.headers.get("x-request-id") or str(uuid.uuid4()),
            caller=request.headers.get("x-clearway-caller"),
            received=started,
        )
        try:
            predictions = await self.batcher.submit(call)
        except (FeaturesUnavailable, EventsUnavailable, Overloaded) as error:
            return refuse(503, REASONS[type(error)], error.what)
        self.metrics.predictions.inc(len(predictions))
        missing = sum(len(prediction["missing_features"]) for prediction in predictions)
        if missing:
            self.metrics.missing.inc(missing)
        content = {"model": self.model, "version": self.version, "arm": self.arm, "predictions": predictions}
        features = max(1, len(predictions) * len(self.predictor.spec.features))
        measured = f"missing_features={missing / features:.6g}"
        if self.predictor.knows_skew and predictions:
            skew = sum(prediction["input_skew"] for prediction in predictions) / len(predictions)
            self.metrics.skew.observe(skew)
            measured += f",input_skew={skew:.6g}"
        return answer(content, headers={MEASURES_HEADER: measured}), None


def create_app(server: ModelServer) -> FastAPI:
    """The HTTP face of a server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        await asyncio.to_thread(server.stop)

    app = FastAPI(title=f"Clearway model server: {server.model} version {server.version}", lifespan=lifespan)
    app.add_route("/predict", server.predict, methods=["POST"])

    @app.get("/healthz")
    async def healthz() -> Response:
        return answer({"status": "live", "model": server.model, "version": server.version, "arm": server.arm})

    # The router asks every kind of server by the name that vLLM's has.
    @app.get("/health")
    @app.get("/readyz")
    async def readyz() -> Response:
        problem = await server.readiness()
        server.metrics.ready.set(0 if problem else 1)
        if problem:
            return answer({"status": "not ready", "reason": problem}, 503)
        return answer({"status": "ready", "model": server.model, "version": server.version, "arm": server.arm})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.render(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/spec")
    async def spec() -> Response:
        if server.predictor is None:
            return answer({"error": {"reason": "not_ready", "message": server.problem}}, 503)
        return answer(server.predictor.spec.model_dump(mode="json"))

    return app


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--arm")
    parser.add_argument("--replica", type=int, default=0, help="which of the arm's servers, from 0")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("feast").setLevel(logging.WARNING)
    # The batch thread and the event loop take turns: at the default of 5 ms a waiting loop would add that to a call.
    sys.setswitchinterval(0.0005)
    settings = get_settings()
    arm = options.arm or arm_name(options.model, options.version)
    server = ModelServer(options.model, options.version, arm, settings, options.replica)
    uvicorn.run(
        create_app(server),
        host=settings.host,
        port=options.port,
        access_log=False,
        log_level="warning",
        # Longer than the router keeps an idle connection, so that no request meets a closing one.
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
