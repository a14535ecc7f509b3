"""The page on which people ask: three files, nothing from elsewhere, and a policy that lets nothing else in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Response

FOLDER = Path(__file__).with_name("page")
TYPES = {"ask": "text/html", "ask.css": "text/css", "ask.js": "text/javascript"}
HEADERS = {
    # The chart's own marks carry styles.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def add_routes(app: FastAPI) -> None:
    """Give the application the page; it holds no data, so it needs no key."""
    for name, kind in TYPES.items():
        content = (FOLDER / (name if "." in name else f"{name}.html")).read_bytes()
        app.add_api_route(f"/{name}", _giving(content, kind), methods=["GET"], include_in_schema=False)


def _giving(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return Response(content, headers=HEADERS, media_type=f"{kind}; charset=utf-8")

    return give
