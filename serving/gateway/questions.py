"""The routes that answer questions about metrics: a query or a question in, rows and their meaning out.

A question goes to the copilot, which writes a query; the semantic layer runs it. No number comes from a model.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from serving.errors import ClearwayError
from serving.gateway import docs
from serving.gateway.answers import Refusal, plain
from serving.gateway.keys import Caller
from serving.gateway.marked import Marked
from serving.models.body import MAX_BODY, BodyTooLarge, read_body
from serving.rollout.observations import Report
from serving.semantics import asking, reply
from serving.semantics.answers import Answers
from serving.semantics.chart import svg
from serving.semantics.query import MetricQuery, QueryError

if TYPE_CHECKING:
    from serving.gateway.app import Gateway
    from serving.gateway.llm_exchange import Exchange
    from serving.gateway.openai import LLMGateway

SCOPES = ("read", "predict", "operate")
# Of the reports by which a rollout's gates judge: 1 when what the copilot wrote could not be run, else 0.
REJECTED = "rejected"
AT_ONCE, MOST_WAITING = 4, 32  # queries


def add_routes(app: FastAPI, gateway: Gateway, llm: LLMGateway) -> None:
    """Give the application the routes below ``/v1/metrics``."""
    copilot = Copilot(gateway, llm)

    @app.get("/v1/metrics", **docs.QUESTIONS)
    async def known(request: Request) -> Response:
        gateway.authorise(request, *SCOPES)
        return plain(request, await run_in_threadpool(_refusing, copilot.answers.known))

    @app.post("/v1/metrics/query", **docs.QUESTION)
    async def ask(request: Request) -> Response:
        return await counted(request, "metrics.query", copilot.answers.answer)

    @app.post("/v1/metrics/explain", **docs.EXPLAIN)
    async def explain(request: Request) -> Response:
        return await counted(request, "metrics.explain", copilot.answers.explain)

    async def counted(request: Request, route: str, run: Any) -> Response:
        started, reason, code = time.perf_counter(), None, 200
        try:
            return plain(request, await copilot.ask(request, run))
        except Refusal as refusal:
            code, reason = refusal.status, refusal.reason
            raise
        finally:
            gateway.metrics.observe(route, asking.COPILOT, code, time.perf_counter() - started, reason)

    @app.post("/v1/metrics/wrong", **docs.WRONG)
    async def wrong(request: Request) -> Response:
        caller = gateway.authorise(request, *SCOPES)
        content = await _content(request)
        question = _question(content)
        right = _query(content["query"]) if content.get("query") is not None else None
        if right is not None:
            await run_in_threadpool(_refusing, copilot.answers.refuse_unknown, right)
        today = (await run_in_threadpool(_refusing, copilot.answers.context))[0]
        ident = await run_in_threadpool(_refusing, copilot.marked.keep, question, today, right, caller.id)
        return plain(request, {"marked": ident}, 202)


class Copilot:
    """Answers questions through the copilot's released versions."""

    def __init__(self, gateway: Gateway, llm: LLMGateway) -> None:
        self._gateway, self._llm = gateway, llm
        self.answers = Answers(gateway.settings)
        self.marked = Marked(gateway.settings)
        # Threads of their own: slow queries must not keep the other routes, such as a rollback, waiting.
        self._running = anyio.CapacityLimiter(AT_ONCE)

    async def _in_thread(self, call: Any, *arguments: Any) -> Any:
        """The result of a call that may take long.

        Raises:
            Refusal: too many are waiting.
        """
        if self._running.statistics().tasks_waiting >= MOST_WAITING:
            raise Refusal(429, "too_many_queries", f"{AT_ONCE} queries run and {MOST_WAITING} wait; try again shortly")
        return await anyio.to_thread.run_sync(_refusing, call, *arguments, limiter=self._running)

    async def ask(self, request: Request, run: Any) -> dict[str, Any]:
        """What ``run`` makes of the query of a request, or of the one that the copilot writes for its question.

        Raises:
            Refusal: the request, the query or the reply is unsound, or somebody who is needed does not answer.
        """
        caller = self._gateway.authorise(request, *SCOPES)
        content = await _content(request)
        if "question" in content and "query" in content:
            raise Refusal(422, "invalid_request", "send a question or a query, not both")
        if content.get("picture") not in (None, "svg"):
            raise Refusal(422, "invalid_request", 'picture: expected "svg", or leave it out', field="picture")
        if "query" in content:
            found: dict[str, Any] = await self._in_thread(run, _query(content["query"]))
        else:
            found = await self._answer(request, caller, _question(content), run)
        if content.get("picture") and found.get("chart"):
            found["picture"] = await self._in_thread(svg, found["chart"])
        return found

    async def _answer(self, request: Request, caller: Caller, question: str, run: Any) -> dict[str, Any]:
        if asking.speaks_for_others(question):
            return {"question": question, "refused": _refused("instructions")}
        today, schema, linked = await run_in_threadpool(_refusing, self.answers.context)
        if not self._llm.models.among([asking.COPILOT]):
            raise Refusal(503, "no_copilot", "no version of the copilot is released; make copilot, or send a query")
        try:
            exchange = await self._llm.complete(request, caller, asking.body(question, linked(question), schema))
        except Refusal as refusal:
            refusal.more.pop("of", None)
            if refusal.status < 500:
                raise
            told = (
                f"{asking.COPILOT} gave no answer ({refusal.message}); ask again, or send a query, which needs no model"
            )
            raise Refusal(504 if refusal.status == 504 else 503, "copilot_failed", told) from refusal
        assert exchange.opened is not None
        said = {
            "question": question,
            "model_version": exchange.served.version(exchange.opened.arm),
            "today": today.isoformat(),
        }
        try:
            written = reply.read(exchange.opened.answer.whole, linked.metrics(question))
            if isinstance(written, reply.Refusal):
                found: dict[str, Any] = {"refused": _refused(written.refuse)}
            else:
                found = await self._in_thread(self._run, written, question, linked.values(question), run)
        except QueryError as error:
            self._report(exchange, 1.0)
            raise Refusal(422, "not_understood", str(error), **said, reply=exchange.opened.answer.whole) from error
        except Refusal as refusal:
            if refusal.reason != "invalid_query":
                raise
            self._report(exchange, 1.0)
            raise Refusal(
                422, "not_understood", refusal.message, **said, reply=exchange.opened.answer.whole
            ) from refusal
        self._report(exchange, 0.0)
        return {**said, **found}

    def _run(self, query: MetricQuery, question: str, named: dict[str, list[str]], run: Any) -> dict[str, Any]:
        query = self.answers.mended(query, question, named)
        outside = self.answers.outside(query)
        found: dict[str, Any] = outside if outside is not None else run(query)
        return found

    def _report(self, exchange: Exchange, rejected: float) -> None:
        """Tell the gates; not when stable stood in for an arm that failed, which its answer says nothing about."""
        observations = self._gateway.forwarder.observations
        if observations is None or exchange.fallback_from is not None:
            return
        try:
            observations.report([Report(time.time(), exchange.ident, asking.COPILOT, {REJECTED: rejected})])
        except ClearwayError:  # told by the writer; users are answered all the same
            return


def _refused(reason: reply.Reason) -> dict[str, str]:
    return {"reason": reason, "message": reply.WORDS[reason]}


async def _content(request: Request) -> dict[str, Any]:
    try:
        content = orjson.loads(await read_body(request))
    except BodyTooLarge as error:
        raise Refusal(413, "body_too_large", f"the body exceeds {MAX_BODY} bytes") from error
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(content, dict) or not {"query", "question"} & content.keys():
        raise Refusal(422, "invalid_request", 'expected {"question": "..."} or {"query": {"metrics": ["..."], ...}}')
    return content


def _question(content: dict[str, Any]) -> str:
    question = content.get("question")
    if not isinstance(question, str) or not question.strip():
        raise Refusal(422, "invalid_question", "question: expected words", field="question")
    if len(question) > asking.LONGEST_QUESTION:
        told = f"question: {len(question)} characters, at most {asking.LONGEST_QUESTION} are taken; ask for one thing"
        raise Refusal(422, "invalid_question", told, field="question")
    return " ".join(question.split())


def _query(content: Any) -> MetricQuery:
    try:
        return MetricQuery.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("query", *first["loc"]))
        raise Refusal(422, "invalid_query", f"{field}: {first['msg']}", field=field) from error


def _refusing(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except QueryError as error:
        raise Refusal(422, "invalid_query", str(error)) from error
    except ClearwayError as error:
        raise Refusal(503, "metrics_unavailable", error.what) from error
