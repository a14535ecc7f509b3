"""The route by which operations tell what happened: kept before it is answered, judged later by a contract."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from serving import clock
from serving.errors import ClearwayError
from serving.events.writer import EventsUnavailable, EventWriter
from serving.gateway import docs
from serving.gateway.answers import Refusal, plain
from serving.models.body import MAX_BODY, BodyTooLarge, read_body

if TYPE_CHECKING:
    from serving.gateway.app import Gateway

SCOPE = "feed"
NAME = re.compile(r"^[a-z][a-z0-9_]*$")
EXPECTED = '{"known_at": "2013-04-01T12:00:00Z", "record": {"column": value, ...}}'


def add_routes(app: FastAPI, gateway: Gateway) -> Feeds:
    """Give the application the routes below ``/v1/feeds``."""
    settings = gateway.settings
    feeds = Feeds(settings.domain / "sources", settings.feeds, settings.segment_seconds)

    @app.post("/v1/feeds/{source}", **docs.FEEDS)
    async def take(request: Request, source: str) -> Response:
        caller = gateway.authorise(request, SCOPE)
        try:
            content = orjson.loads(await read_body(request))
        except BodyTooLarge as error:
            raise Refusal(413, "body_too_large", f"the body exceeds {MAX_BODY} bytes; send fewer events") from error
        except orjson.JSONDecodeError as error:
            raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
        if not feeds.known(source):
            raise Refusal(404, "unknown_source", f"no source {source!r:.80} is declared")
        events = parse(content, caller.id, clock.now())
        try:
            await run_in_threadpool(feeds.keep, source, events)
        except ClearwayError as error:
            raise Refusal(503, "not_recorded", error.what) from error
        return plain(request, {"source": source, "taken": len(events)}, 202)

    return feeds


def parse(content: Any, caller: str, now: datetime) -> list[dict[str, Any]]:
    """Events as they are kept: ``known_at``, ``received_at``, ``caller``, ``record``.

    Raises:
        Refusal: one is not of the form; none was kept.
    """
    items = content if isinstance(content, list) else [content]
    found = []
    for number, item in enumerate(items):
        try:
            known_at = datetime.fromisoformat(item["known_at"])
            record = item["record"]
            if known_at.tzinfo is None or not isinstance(record, dict) or not record:
                raise ValueError
        except (TypeError, KeyError, ValueError) as error:
            raise Refusal(422, "invalid_request", f"event {number}: expected {EXPECTED}", index=number) from error
        found.append({"known_at": known_at.astimezone(UTC), "received_at": now, "caller": caller, "record": record})
    return found


class Feeds:
    """Writers of segments, one a source, opened at its first event."""

    def __init__(self, sources: Path, folder: Path, segment_seconds: float = 30.0) -> None:
        self._sources, self._folder, self._age = sources, folder, segment_seconds
        self._writers: dict[str, EventWriter] = {}

    def known(self, source: str) -> bool:
        return bool(NAME.match(source)) and (self._sources / f"{source}.yaml").exists()

    def keep(self, source: str, events: list[dict[str, Any]]) -> None:
        """Record events, all or none.

        Raises:
            EventsUnavailable: they cannot be recorded.
        """
        try:
            writer = self._writers.get(source) or self._writers.setdefault(
                source, EventWriter(self._folder / source / "gateway", rotate_seconds=self._age)
            )
        except OSError as error:
            raise EventsUnavailable(
                f"events of {source} cannot be recorded in {self._folder}: {error}", todo="free disk space; send again."
            ) from error
        writer.append(events)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
