"""The routes of the knowledge: embeddings, search, answers, declared and free graph queries.

What a key's labels do not show is not in any answer, count or message: the filters are in every store's own query.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ClearwayError
from serving.gateway import knowledge_docs as docs
from serving.gateway.answers import Refusal, plain
from serving.gateway.keys import Caller
from serving.models.body import MAX_BODY, BodyTooLarge, read_body
from serving.retrieval.methods import METHODS

if TYPE_CHECKING:
    from serving.gateway.app import Gateway
    from serving.retrieval.service import Retrieval

SCOPES = ("read", "predict", "operate")
LONGEST = 2000
AT_ONCE, MOST_WAITING = 2, 16
CHAT_SECONDS = 60.0
MAX_TEXTS = 256
# Fewer for a language model: a small one loses a long context.
SHOWN_TO_MODEL = 5


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Ask(_Body):
    """A question. ``methods`` are all unless some are named; ``model`` lets a served language model compose."""

    question: str = Field(min_length=1, max_length=LONGEST)
    limit: int = Field(default=8, ge=1, le=50)
    methods: list[str] = Field(default=list(METHODS), min_length=1)
    model: str | None = None


class Declared(_Body):
    """Parameters of a declared query."""

    parameters: dict[str, Any] = Field(default_factory=dict)


class Cypher(_Body):
    """A reading query of one's own."""

    query: str = Field(min_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)


class Sparql(_Body):
    """A SELECT, ASK, CONSTRUCT or DESCRIBE."""

    query: str = Field(min_length=1)


class Embed(_Body):
    """OpenAI's request; ``kind`` tells E5 whether the texts are questions."""

    input: str | list[str]
    model: str | None = None
    kind: str = Field(default="passage", pattern="^(passage|question)$")
    encoding_format: str = Field(default="float", pattern="^float$")


def add_routes(app: FastAPI, gateway: Gateway) -> None:
    """Give the application the routes below ``/v1/retrieval``, ``/v1/graph`` and ``/v1/embeddings``."""
    knowledge = Knowledge(gateway)

    @app.post("/v1/retrieval/search", **docs.SEARCH)
    async def search(request: Request) -> Response:
        return await counted(request, "retrieval.search", knowledge.search)

    @app.post("/v1/retrieval/answer", **docs.ANSWER)
    async def answer(request: Request) -> Response:
        return await counted(request, "retrieval.answer", knowledge.answer)

    @app.get("/v1/graph/queries", **docs.QUERIES)
    async def queries(request: Request) -> Response:
        return await counted(request, "graph.queries", knowledge.queries)

    @app.post("/v1/graph/queries/{name}", **docs.QUERY)
    async def query(request: Request, name: str) -> Response:
        async def run(request: Request, caller: Caller) -> dict[str, Any]:
            return await knowledge.query(request, caller, name)

        return await counted(request, "graph.query", run)

    @app.post("/v1/graph/cypher", **docs.CYPHER)
    async def cypher(request: Request) -> Response:
        return await counted(request, "graph.cypher", knowledge.cypher)

    @app.post("/v1/graph/sparql", **docs.SPARQL)
    async def sparql(request: Request) -> Response:
        return await counted(request, "graph.sparql", knowledge.sparql)

    @app.post("/v1/embeddings", **docs.EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        return await counted(request, "embeddings", knowledge.embeddings)

    async def counted(request: Request, route: str, run: Any) -> Response:
        started, reason, code = time.perf_counter(), None, 200
        try:
            caller = gateway.authorise(request, *SCOPES)
            return plain(request, await run(request, caller))
        except Refusal as refusal:
            code, reason = refusal.status, refusal.reason
            raise
        finally:
            gateway.metrics.observe(route, "knowledge", code, time.perf_counter() - started, reason)


class Knowledge:
    """Reads requests, and lets :class:`serving.retrieval.service.Retrieval` answer in threads of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._retrieval: Retrieval | None = None
        self._running = anyio.CapacityLimiter(AT_ONCE)
        self._taken = 0

    def _service(self) -> Retrieval:
        if self._retrieval is None:
            # Its libraries are heavy, and most gateways never get such a question.
            from serving.retrieval.service import Retrieval

            self._retrieval = Retrieval(self._gateway.settings)
        return self._retrieval

    async def _in_thread(self, call: Any) -> Any:
        if self._taken >= AT_ONCE + MOST_WAITING:
            told = f"{AT_ONCE} questions are answered and {MOST_WAITING} wait; try again shortly"
            raise Refusal(429, "too_many_questions", told)
        # Counted here: the limiter knows of a question only after the loop has gone round once more.
        self._taken += 1
        try:
            return await anyio.to_thread.run_sync(_refusing, call, limiter=self._running)
        finally:
            self._taken -= 1

    async def search(self, request: Request, caller: Caller) -> dict[str, Any]:
        ask = await _ask(request)
        found: dict[str, Any] = await self._in_thread(
            lambda: self._service().search(ask.question, caller.labels, ask.limit, ask.methods)
        )
        return found

    async def answer(self, request: Request, caller: Caller) -> dict[str, Any]:
        ask = await _ask(request)
        chat = self._chat(request, ask.model) if ask.model else None
        limit = min(ask.limit, SHOWN_TO_MODEL) if ask.model else ask.limit
        found: dict[str, Any] = await self._in_thread(
            lambda: self._service().answer(
                ask.question, caller.labels, limit, ask.methods, chat=chat, model=ask.model or ""
            )
        )
        return found

    def _chat(self, request: Request, model: str) -> Any:
        """Calls the gateway's own chat route with the caller's key: limits and rollouts are those of the route."""
        url = f"{self._gateway.settings.gateway_url}/v1/chat/completions"
        headers = {"authorization": request.headers.get("authorization", "")}

        def chat(messages: Sequence[Mapping[str, str]]) -> str:
            import httpx

            body = {"model": model, "messages": list(messages), "max_tokens": 300, "temperature": 0}
            try:
                response = httpx.post(url, json=body, headers=headers, timeout=CHAT_SECONDS)
                if response.status_code != 200:
                    raise ClearwayError(f"answered {response.status_code}: {response.text[:200]}")
                return str(response.json()["choices"][0]["message"]["content"])
            except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
                raise ClearwayError(f"gave no answer: {error}") from error

        return chat

    async def queries(self, request: Request, caller: Caller) -> dict[str, Any]:
        def listed() -> dict[str, Any]:
            version = self._service().version()
            return {
                "version": version.published.version,
                "queries": [q.model_dump(mode="json", exclude_none=True) for q in version.queries.values()],
            }

        found: dict[str, Any] = await self._in_thread(listed)
        return found

    async def query(self, request: Request, caller: Caller, name: str) -> dict[str, Any]:
        body = await _read(request, Declared)

        def run() -> dict[str, Any]:
            try:
                return self._service().query(name, body.parameters, caller.labels)
            except KeyError as error:
                known = ", ".join(self._service().version().queries)
                raise Refusal(404, "unknown_query", f"no query {name!r:.80}; there is: {known}") from error

        found: dict[str, Any] = await self._in_thread(run)
        return found

    async def cypher(self, request: Request, caller: Caller) -> dict[str, Any]:
        body = await _read(request, Cypher)
        found: dict[str, Any] = await self._in_thread(
            lambda: self._service().cypher(body.query, body.parameters, caller.labels)
        )
        return found

    async def sparql(self, request: Request, caller: Caller) -> dict[str, Any]:
        body = await _read(request, Sparql)
        found: dict[str, Any] = await self._in_thread(lambda: self._service().sparql(body.query, caller.labels))
        return found

    async def embeddings(self, request: Request, caller: Caller) -> dict[str, Any]:
        body = await _read(request, Embed)
        texts = [body.input] if isinstance(body.input, str) else body.input
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise Refusal(422, "invalid_request", f"input: expected 1 to {MAX_TEXTS} texts", field="input")

        def run() -> dict[str, Any]:
            from serving.retrieval.embedding import embedder

            model = embedder(self._gateway.settings.embeddings)
            if body.model not in (None, model.name):
                raise Refusal(404, "unknown_model", f"no embedding model {body.model!r:.80}; there is: {model.name}")
            vectors = model.questions(texts) if body.kind == "question" else model.passages(texts)
            tokens = sum(model.count(text) for text in texts)
            return {
                "object": "list",
                "model": model.name,
                "data": [
                    {"object": "embedding", "index": i, "embedding": row.tolist()} for i, row in enumerate(vectors)
                ],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }

        found: dict[str, Any] = await self._in_thread(run)
        return found


async def _read(request: Request, kind: Any) -> Any:
    try:
        content = orjson.loads(await read_body(request) or b"{}")
    except BodyTooLarge as error:
        raise Refusal(413, "body_too_large", f"the body exceeds {MAX_BODY} bytes") from error
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refusal(422, "invalid_request", f"{field or 'body'}: {first['msg']}", field=field) from error


async def _ask(request: Request) -> Ask:
    ask: Ask = await _read(request, Ask)
    if not ask.question.strip():
        raise Refusal(422, "invalid_question", "question: expected words", field="question")
    if unknown := sorted(set(ask.methods) - set(METHODS)):
        told = f"methods: {', '.join(unknown)} not known; there are {', '.join(METHODS)}"
        raise Refusal(422, "invalid_request", told, field="methods")
    return ask


def _refusing(call: Any) -> Any:
    from serving.retrieval.bolt import GraphFault
    from serving.retrieval.cypher import CypherRefused
    from serving.retrieval.service import NotPublished
    from serving.retrieval.sparql import SparqlRefused
    from serving.retrieval.vectors import VectorsFault

    try:
        return call()
    except PermissionError as error:
        raise Refusal(403, "label_missing", str(error)) from error
    except NotPublished as error:
        raise Refusal(503, "no_knowledge", f"{error.what}; {error.todo}") from error
    except (CypherRefused, SparqlRefused) as error:
        raise Refusal(422, "query_refused", error.what) from error
    except (GraphFault, VectorsFault) as error:
        raise Refusal(503, "knowledge_unavailable", error.what) from error
    except ClearwayError as error:
        raise Refusal(422, "invalid_request", error.what) from error
