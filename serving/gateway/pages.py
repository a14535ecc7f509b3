"""The pages on which people ask: nothing in them is from elsewhere, and a policy lets nothing else in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Response

FOLDER = Path(__file__).with_name("page")
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
FILES = ("ask.html", "ask.css", "ask.js", "know.html", "know.css", "know.js", "graph.js", "page.js")
HEADERS = {
    # The chart's own marks carry styles.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def add_routes(app: FastAPI) -> None:
    """Give the application the pages; they hold no data, so they need no key."""
    for name in FILES:
        content, kind = (FOLDER / name).read_bytes(), KINDS[name.rpartition(".")[2]]
        route = f"/{name.removesuffix('.html')}"
        app.add_api_route(route, _giving(content, kind), methods=["GET"], include_in_schema=False)


def _giving(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return Response(content, headers=HEADERS, media_type=f"{kind}; charset=utf-8")

    return give
