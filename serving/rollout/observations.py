"""What became of each routed request: written by the gateway, read by the rollout controller.

One line a request, in append-only segments (``serving.events.writer``). The router stamps each answer with the arm and,
during a rollout, with the split under which the arm was drawn, so that a request is always judged by the weight that
really applied to it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from serving.events.tail import SegmentTail
from serving.events.writer import CLOSED, EventWriter
from serving.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Observation:
    """One answered or failed request.

    Attributes:
        at: when the request came in, seconds since the epoch.
        rollout: id of the rollout under whose split the arm was drawn; None outside a rollout.
        percent: weight of the new version in that split.
        status: HTTP status that the caller got.
        measures: numbers by name, such as ``latency_ms``.
        user: who asked, where a rollout tells users apart.
    """

    at: float
    request_id: str
    model: str
    arm: str
    status: int
    rollout: str | None = None
    percent: int | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    user: str | None = None


@dataclass(frozen=True)
class Report:
    """What became known of a request after it was answered: a loss, once there is a label.

    Attributes:
        at: when it was reported, seconds since the epoch.
        request_id: of the answered call.
        measures: numbers by name.
    """

    at: float
    request_id: str
    model: str
    measures: Mapping[str, float]


def parse_split(header: str | None) -> tuple[str | None, int | None]:
    """(rollout, percent) of the router's ``x-clearway-split`` header; (None, None) without a sound one."""
    rollout, _, percent = (header or "").rpartition(":")
    return (rollout, int(percent)) if rollout and percent.isdigit() else (None, None)


# On answers of a server: what it measured itself, as ``name=number`` joined by commas.
MEASURES_HEADER = "x-clearway-measures"
# Of the answers of two language models to one request, 0 (the same words) to 1 (none in common).
DIFFERENCE = "difference"


def parse_measures(header: str | None) -> dict[str, float]:
    """Numbers by name of a ``x-clearway-measures`` header; what is no finite number is left out."""
    found = {}
    for part in (header or "").split(","):
        name, _, text = part.partition("=")
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            found[name.strip()] = value
    return found


def folder(settings: Settings) -> Path:
    """Where observations lie: one folder a gateway process."""
    return settings.home / "observations"


class ObservationWriter:
    """Appends observations. One a process; ``close`` before another takes its folder."""

    def __init__(self, settings: Settings, process: str = "gateway") -> None:
        self._writer = EventWriter(folder(settings) / process)
        self._failed = False

    def write(self, observation: Observation) -> None:
        """Append one. A full disk loses it, and says so once: gates see fewer requests, users are answered."""
        line = {k: v for k, v in vars(observation).items() if v is not None}
        try:
            self._writer.append([line])
            self._failed = False
        except Exception as error:
            if not self._failed:
                log.error("observations are not recorded: %s", error)
            self._failed = True

    def report(self, reports: Sequence[Report]) -> None:
        """Append reports, all or none.

        Raises:
            EventsUnavailable: they could not be written.
        """
        self._writer.append([{"kind": "report", **vars(report)} for report in reports])

    def close(self) -> None:
        self._writer.close()


class ObservationTail(SegmentTail[Observation | Report]):
    """Observations and reports of all gateways, each once. A line that is neither is logged and passed over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(folder(settings), _parse)


def _parse(line: bytes) -> Observation | Report | None:
    try:
        content: dict[str, Any] = orjson.loads(line)
        return Report(**content) if content.pop("kind", None) == "report" else Observation(**content)
    except (orjson.JSONDecodeError, TypeError) as error:
        log.error("a line of the observations is passed over: %s", error)
        return None


def prune(settings: Settings, keep_s: float, now: float | None = None) -> int:
    """Remove closed segments that were last written before ``keep_s`` seconds ago; returns how many."""
    removed = 0
    for path in folder(settings).glob(f"*/*{CLOSED}"):
        try:
            if (now or time.time()) - path.stat().st_mtime > keep_s:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue
    return removed
