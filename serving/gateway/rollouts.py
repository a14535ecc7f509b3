"""Routes that show rollouts and move them by hand."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from serving.errors import ClearwayError
from serving.gateway import docs
from serving.gateway.answers import Refusal, plain
from serving.models.body import MAX_BODY, BodyTooLarge, read_body
from serving.rollout import commands
from serving.rollout.observations import Report
from serving.rollout.read import as_json, list_rollouts, released_models
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.gateway.app import Gateway

ROLL_BACK = "roll_back"


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Give the application the routes below ``/v1/rollouts``."""

    @app.get("/v1/rollouts", **docs.ROLLOUTS)
    async def rollouts(request: Request) -> Response:
        gateway.authorise(request, "read", "operate")
        found = await run_in_threadpool(_rollouts, gateway.settings, None)
        return plain(request, {"rollouts": found})

    @app.get("/v1/rollouts/{model}", **docs.ROLLOUTS_OF)
    async def rollouts_of(request: Request, model: str) -> Response:
        gateway.authorise(request, "read", "operate")
        await _known(gateway, model)
        found = await run_in_threadpool(_rollouts, gateway.settings, model)
        return plain(request, {"model": model, "rollouts": found[model]})

    @app.post("/v1/outcomes/{model}", **docs.OUTCOMES)
    async def outcomes(request: Request, model: str) -> Response:
        gateway.authorise(request, "operate")
        await _known(gateway, model)
        reports = _reports(model, await _json(request))
        writer = gateway.forwarder.observations
        try:
            if writer is None:
                raise ClearwayError("outcomes are not recorded by this process")
            writer.report(reports)
        except ClearwayError as error:
            raise Refusal(503, "not_recorded", error.what) from error
        return plain(request, {"model": model, "taken": len(reports)}, 202)

    @app.post("/v1/rollouts/{model}/{action}", **docs.ROLLOUT_COMMANDS)
    async def command(request: Request, model: str, action: str) -> Response:
        caller = gateway.authorise(request, "operate")
        await _known(gateway, model)
        reason = await _reason(request)
        try:
            if action == ROLL_BACK:
                ident = await run_in_threadpool(commands.roll_back, model, caller.id, reason, gateway.settings)
                return plain(request, {"model": model, "rollout": ident, "action": action}, 202)
            sent = await run_in_threadpool(commands.send, model, action, caller.id, reason, gateway.settings)
        except ClearwayError as error:
            known = action in (*commands.ACTIONS, ROLL_BACK)
            words = " ".join(filter(None, (error.what, error.todo)))
            raise Refusal(*((409, "not_now") if known else (404, "unknown_action")), words) from error
        return plain(request, {"model": model, "rollout": sent.rollout, "action": action, "command": sent.id}, 202)


async def _known(gateway: Gateway, model: str) -> None:
    known = await run_in_threadpool(released_models, gateway.settings)
    if model not in known:
        listed = ", ".join(known) or "none yet"
        message = f"no model {model!r:.80} was released; there is: {listed}"
        raise Refusal(404, "unknown_model", message, models=known)


async def _json(request: Request) -> Any:
    try:
        return orjson.loads(await read_body(request))
    except BodyTooLarge as error:
        raise Refusal(413, "body_too_large", f"the body exceeds {MAX_BODY} bytes") from error
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error


def _reports(model: str, content: Any) -> list[Report]:
    items = content if isinstance(content, list) else [content]
    now, found = time.time(), []
    for number, item in enumerate(items):
        try:
            ident, measures = item["request_id"], item["measures"]
            numbers = {str(name): float(value) for name, value in measures.items()}
            if not isinstance(ident, str) or not numbers or not all(map(math.isfinite, numbers.values())):
                raise ValueError
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            expected = '{"request_id": "...", "measures": {"name": number}}'
            raise Refusal(422, "invalid_request", f"outcome {number}: expected {expected}", index=number) from error
        found.append(Report(now, ident, model, numbers))
    return found


async def _reason(request: Request) -> str:
    content = await _json(request)
    reason = content.get("reason") if isinstance(content, dict) else None
    if not isinstance(reason, str) or not reason.strip() or len(reason) > 1000:
        raise Refusal(
            422, "invalid_request", 'expected {"reason": "some words for the record, at most 1000 characters"}'
        )
    return reason


def _rollouts(settings: Settings, model: str | None) -> dict[str, list[dict[str, Any]]]:
    names = [model] if model else released_models(settings)
    return {name: [as_json(rollout) for rollout in list_rollouts(name, settings)] for name in names}
