"""Records of reviews: one file each, written once, whose name says model, period and revision.

A record is written before anything acts on it, by one ``os.link`` after an fsync; what acts on it names its id. So a
process that is killed in between leaves either no decision or one that is carried out once.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from assets.monitoring.decision import Action
from serving.errors import ClearwayError
from serving.faults import boundary

NAME = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d+)\.json")


@dataclass(frozen=True)
class Record:
    """What was decided at one review, and why.

    Attributes:
        model, period, revision: name it; ``period`` is the first day of what was reviewed, ISO 8601.
        at: data time of the review, ISO 8601.
        champion: the version under review; None before the first release.
        action, why: the decision.
        cut, until: for a retraining, ISO 8601: it learns from labels of predictions before ``cut`` and is judged on
            those from there on to ``until``.
        numbers: that the decision follows from.
        risk: estimated and measured, of the whole period.
        alarms: one for the model and one a slice.
        others: what the other policies would have done.
        brought: the first period of a new champion: what it has saved against the version that it replaced.
    """

    model: str
    period: str
    revision: int
    at: str
    champion: str | None
    action: Action
    why: str
    cut: str | None = None
    until: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    risk: dict[str, Any] = field(default_factory=dict)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    brought: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.model}-{self.period[:7]}-{self.revision}"

    @property
    def outcome(self) -> str:
        """What the newest release has brought, in words; empty when there is none to speak of."""
        if not self.brought:
            return ""
        saved, low, high = (self.brought[name] for name in ("saved", "low", "high"))
        sign, did = (1, "saved") if saved >= 0 else (-1, "lost")
        low, high = sorted((sign * low, sign * high))
        new, old = self.brought["version"], self.brought["previous"]
        return f"version {new} {did} {abs(saved):.4f} nats a prediction ({low:.4f} to {high:.4f}) against version {old}"

    @property
    def raised(self) -> list[dict[str, Any]]:
        return [alarm for alarm in self.alarms if alarm["raised_on"]]


class Records:
    """All reviews of one model.

    Args:
        folder: ``settings.reviews``.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._folder = folder / model

    def all(self) -> list[Record]:
        """By period, then revision.

        Raises:
            ClearwayError: a record cannot be read.
        """
        found = []
        for path in self._folder.glob("*.json") if self._folder.exists() else ():
            if NAME.fullmatch(path.name):
                try:
                    found.append(Record(**json.loads(path.read_text())))
                except (OSError, ValueError, TypeError) as error:
                    raise ClearwayError(
                        f"{path}: the record of a review cannot be read: {error}",
                        untouched="every version and all other records.",
                        todo="restore the file; without it a retraining may be decided twice.",
                    ) from error
        return sorted(found, key=lambda record: (record.period, record.revision))

    def of(self, period: date) -> Record | None:
        """The newest record of a period."""
        return next((r for r in reversed(self.all()) if r.period == period.isoformat()), None)

    def retraining(self, before: date | None = None) -> Record | None:
        """The newest decision to retrain, or of a period before one; the newest's windows make versions."""
        asked = (r for r in reversed(self.all()) if before is None or r.period < before.isoformat())
        return next((r for r in asked if r.action == "retrain"), None)

    def write(self, record: Record) -> None:
        """Keep a record.

        Raises:
            ClearwayError: it cannot be written, or there is one of this name.
        """
        path = self._folder / f"{record.period}-{record.revision}.json"
        part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.part")
        boundary("review.decided")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("w") as file:
                json.dump(asdict(record), file, indent=1, default=_plain, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)  # unlike a replace it fails when there is one
            part.unlink()
        except OSError as error:
            raise ClearwayError(
                f"{path}: the record of the review cannot be written: {error}",
                untouched="every version; nothing follows from a decision that is not on record.",
                todo="free disk space or give write permission, then run the review again.",
            ) from error
        boundary("review.recorded")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else str(value)
