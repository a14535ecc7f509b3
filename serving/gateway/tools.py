"""The metrics as tools over MCP (streamable HTTP at ``/mcp``), by the official SDK.

A tool calls the gateway's own route inside this process with the caller's key, so that keys, limits, counts and
refusals are those of the route. The SDK is imported at the first call: most gateways never get one. Annotations stay
objects in this module, for the SDK reads those of the tools.
"""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

PATH = "/mcp"
PATIENCE_S = 120.0
INSTRUCTIONS = (
    "Metrics of this Clearway project. Ask in plain words with ask_metrics, or write the query yourself: list_metrics "
    "says which metrics and dimensions there are. Every number comes from the semantic layer, with its SQL."
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

    server: Any = MCPServer("clearway-metrics", title="Clearway metrics", instructions=INSTRUCTIONS, version="1")

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

    for tool in (list_metrics, ask_metrics, query_metrics, explain_metrics):
        server.add_tool(tool)
    return server


def add_routes(app: FastAPI) -> Tools:
    """Give the application the tools; the caller closes what is returned."""
    tools = Tools(app)
    app.router.routes.append(Route(PATH, endpoint=tools, methods=["POST"], include_in_schema=False))
    return tools
