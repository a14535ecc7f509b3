"""Routes that show rollouts and move them by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from serving.errors import ClearwayError
from serving.gateway import docs
from serving.gateway.answers import Refusal, plain
from serving.models.body import BodyTooLarge, read_body
from serving.rollout import commands
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


async def _reason(request: Request) -> str:
    try:
        content = orjson.loads(await read_body(request))
    except BodyTooLarge as error:
        raise Refusal(413, "body_too_large", "expected a few words, not a book") from error
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    reason = content.get("reason") if isinstance(content, dict) else None
    if not isinstance(reason, str) or not reason.strip() or len(reason) > 1000:
        raise Refusal(
            422, "invalid_request", 'expected {"reason": "some words for the record, at most 1000 characters"}'
        )
    return reason


def _rollouts(settings: Settings, model: str | None) -> dict[str, list[dict[str, Any]]]:
    names = [model] if model else released_models(settings)
    return {name: [as_json(rollout) for rollout in list_rollouts(name, settings)] for name in names}
