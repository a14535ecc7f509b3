"""The route by which operations tell what happened: kept before it is answered, judged later by a contract."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml
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

log = logging.getLogger(__name__)

SCOPE = "feed"
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
        if source not in (known := await run_in_threadpool(feeds.sources)):
            listed = ", ".join(known) or "none"
            raise Refusal(404, "unknown_source", f"no source {source!r:.80} has a feed; those that have: {listed}")
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
            known_at, record = datetime.fromisoformat(item["known_at"]), item["record"]
            if known_at.tzinfo is None:
                raise ValueError("known_at has no offset from UTC")
            if not isinstance(record, dict) or not record:
                raise ValueError("record is no object with columns")
        except (TypeError, KeyError, ValueError) as error:
            why = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            message = f"event {number}: expected {EXPECTED}; {why}"
            raise Refusal(422, "invalid_request", message, index=number) from error
        found.append({"known_at": known_at.astimezone(UTC), "received_at": now, "caller": caller, "record": record})
    return found


@lru_cache(maxsize=1000)
def _has_feed(declaration: Path, changed: int) -> bool:
    """Whether a source's declaration names a feed; ``changed`` is when the file was, for the cache."""
    try:
        content = yaml.safe_load(declaration.read_text())
    except (OSError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and content.get("feed") is not None


class Feeds:
    """Writers of segments, one a source, opened at its first event, or before it to close what a dead gateway left."""

    def __init__(self, sources: Path, folder: Path, segment_seconds: float = 30.0) -> None:
        self._sources, self._folder, self._age = sources, folder, segment_seconds
        self._writers: dict[str, EventWriter] = {}
        self._opening = threading.Lock()

    def recover(self) -> None:
        """Close what a gateway that was killed left open, so that it is published though nothing more is told."""
        for left in sorted(self._folder.glob("*/gateway")):
            try:
                self._writer(left.parent.name)
            except EventsUnavailable as error:  # the next event of the source says so to who tells it
                log.warning("%s", error)

    def sources(self) -> list[str]:
        """Names of the declared sources that have a feed; of others events would be kept and never published."""
        return [path.stem for path in sorted(self._sources.glob("*.yaml")) if _has_feed(path, path.stat().st_mtime_ns)]

    def keep(self, source: str, events: list[dict[str, Any]]) -> None:
        """Record events, all or none.

        Raises:
            EventsUnavailable: they cannot be recorded.
        """
        self._writer(source).append(events)

    def _writer(self, source: str) -> EventWriter:
        with self._opening:
            found = self._writers.get(source)
            if found is None:
                try:
                    found = EventWriter(self._folder / source / "gateway", rotate_seconds=self._age)
                except OSError as error:
                    raise EventsUnavailable(
                        f"events of {source} cannot be recorded in {self._folder}: {error}",
                        todo="free disk space; send again.",
                    ) from error
                self._writers[source] = found
            return found

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
