"""Metrics and knowledge as tools over MCP (streamable HTTP at ``/mcp``), by the official SDK.

A tool calls the gateway's own route inside this process with the caller's key, so that keys, limits, counts and
refusals are those of the route. The SDK is imported at the first call: most gateways never get one. Annotations stay
objects in this module, for the SDK reads those of the tools.
"""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

PATH = "/mcp"
PATIENCE_S = 120.0
INSTRUCTIONS = (
    "Metrics and knowledge of this Clearway project. Numbers over time, by dimension: ask_metrics in plain words, or "
    "write the query yourself, list_metrics says which metrics and dimensions there are; every number comes from the "
    "semantic layer, with its SQL. Things, documents and how they are related: ask_knowledge for an answer with "
    "citations, search_knowledge for passages, list_graph_queries and run_graph_query for what the graph is asked most."
)


class Tools:
    """The ASGI application behind ``/mcp``. ``close`` it on the event loop that used it."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._lock = asyncio.Lock()
        self._served: Any = None
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._lock:
            if self._served is None:
                await self._begin()
        await self._served(scope, receive, send)

    async def close(self) -> None:
        self._closing.set()
        if self._running is not None:
            await self._running

    async def _begin(self) -> None:
        server = await asyncio.to_thread(tools_of, self._app)
        served = server.streamable_http_app(
            streamable_http_path=PATH, json_response=True, stateless_http=True, transport_security=_any_host()
        )
        begun = asyncio.Event()

        async def run() -> None:
            # One task enters and leaves it, as its cancel scope wants.
            async with server.session_manager.run():
                begun.set()
                await self._closing.wait()

        self._running = asyncio.create_task(run())
        waits = asyncio.create_task(begun.wait())
        await asyncio.wait({self._running, waits}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        if self._running.done():
            await self._running  # raises what kept it from running
        self._served = served


def _any_host() -> Any:
    """Callers show a key, which no page in a browser has: a check of the host would only forbid names of clusters."""
    from mcp.server.transport_security import TransportSecuritySettings

    return TransportSecuritySettings(enable_dns_rebinding_protection=False)


def tools_of(app: FastAPI) -> Any:
    """The SDK's server with the tools of a gateway's application."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver.exceptions import ToolError

    server: Any = MCPServer("clearway", title="Clearway", instructions=INSTRUCTIONS, version="1")

    async def call(context: Any, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        key = (context.headers or {}).get("authorization")
        transport = httpx.ASGITransport(app=app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
            asyncio.timeout(PATIENCE_S),
        ):
            answer = await client.request(method, path, json=body, headers={"authorization": key} if key else {})
        content: dict[str, Any] = answer.json()
        if answer.status_code >= 300:
            raise ToolError(f"{content['error']['reason']}: {content['error']['message']}")
        return content

    async def list_metrics(context: Context) -> dict[str, Any]:
        """Which metrics there are, what each can be grouped and filtered by, and the days of the data."""
        return await call(context, "GET", "/v1/metrics")

    async def ask_metrics(question: str, context: Context) -> dict[str, Any]:
        """Answer a question about metrics in plain English or Korean: rows, the query that ran, its SQL, lineage."""
        return await call(context, "POST", "/v1/metrics/query", {"question": question})

    async def query_metrics(query: dict[str, Any], context: Context) -> dict[str, Any]:
        """Run a query such as {"metrics": ["..."], "group_by": ["..."], "grain": "month", "where": [{"dimension":
        "...", "values": ["..."]}], "since": "2013-07-01", "until": "2013-08-01", "order_by": ["-..."], "limit": 10}."""
        return await call(context, "POST", "/v1/metrics/query", {"query": query})

    async def explain_metrics(query: dict[str, Any], context: Context) -> dict[str, Any]:
        """The SQL of a query and what its metrics mean, not run."""
        return await call(context, "POST", "/v1/metrics/explain", {"query": query})

    async def ask_knowledge(question: str, context: Context) -> dict[str, Any]:
        """Answer a question about things and documents: sentences with citations, the graph query and its rows where
        one fits, passages, and what is around the things that are named."""
        return await call(context, "POST", "/v1/retrieval/answer", {"question": question})

    async def search_knowledge(question: str, context: Context, limit: int = 8) -> dict[str, Any]:
        """The passages that say most about a question, at most 50, the things that it names, and their relations."""
        return await call(context, "POST", "/v1/retrieval/search", {"question": question, "limit": limit})

    async def list_graph_queries(context: Context) -> dict[str, Any]:
        """The declared graph queries, with their parameters and what they answer."""
        return await call(context, "GET", "/v1/graph/queries")

    async def run_graph_query(name: str, parameters: dict[str, Any], context: Context) -> dict[str, Any]:
        """The rows of a declared graph query. A parameter that has a kind takes a thing's uid, name or alias."""
        return await call(context, "POST", f"/v1/graph/queries/{quote(name, safe='')}", {"parameters": parameters})

    for tool in (
        *(list_metrics, ask_metrics, query_metrics, explain_metrics),
        *(ask_knowledge, search_knowledge, list_graph_queries, run_graph_query),
    ):
        server.add_tool(tool)
    return server


def add_routes(app: FastAPI) -> Tools:
    """Give the application the tools; the caller closes what is returned."""
    tools = Tools(app)
    app.router.routes.append(Route(PATH, endpoint=tools, methods=["POST"], include_in_schema=False))
    return tools
