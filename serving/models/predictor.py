"""From typed request rows to recorded answers: features, matrix, probability, event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from serving import clock
from serving.events.writer import EventWriter
from serving.models.features import FeatureRow, OnlineFeatures
from serving.models.inputs import RowDeriver
from serving.models.model import TabularModel
from serving.models.requests import RESERVED
from serving.models.skew import InputSkew
from serving.settings import Settings


@dataclass
class Call:
    """One HTTP call: typed rows, the id of the call, who called, and when it came in (seconds, monotonic)."""

    rows: list[dict[str, Any]]
    request_id: str
    caller: str | None = None
    received: float = field(default_factory=time.perf_counter)


class Predictor:
    """Answers batches of calls. Used from one thread, as the feature store is."""

    def __init__(
        self, folder: Path, version: str, arm: str, events: EventWriter, settings: Settings, num_threads: int = 1
    ) -> None:
        self.model = TabularModel.load(folder, num_threads=num_threads)
        self.version, self.arm, self._events = version, arm, events
        self.spec = self.model.spec
        self._deriver = RowDeriver(self.spec)
        self._features = OnlineFeatures(self.spec.feature_service, settings) if self.spec.feature_service else None
        self._feature_names = self.spec.features
        self._skew = InputSkew(self.spec.inputs)
        self.knows_skew = self._skew.known
        # The first call of a booster allocates; it must not be a user's.
        self.model.predict_proba(np.full((1, len(self.spec.inputs)), np.nan))

    def check(self) -> None:
        """Raise FeaturesUnavailable unless features can be read."""
        if self._features is not None:
            self._features.check()

    def answer(self, calls: Sequence[Call]) -> list[list[dict[str, Any]]]:
        """Predictions of each call, in order, after their events were recorded.

        Raises:
            FeaturesUnavailable: the online window cannot be read.
            EventsUnavailable: the predictions cannot be recorded, so they are not given out.
        """
        rows = [row for call in calls for row in call.rows]
        keys = [self._deriver.keys(row) for row in rows]
        now = clock.now()
        if self._features is None:
            found = [FeatureRow() for _ in rows]
        else:
            # Who asks early is answered by what holds now; who asks of the past, by what held then.
            found = self._features.read(keys, [min(now, self._deriver.prediction_time(row)) for row in rows])
        matrix = self._deriver.derive(rows, [row.values for row in found])
        scores = self.model.predict_proba(matrix).tolist()
        skew = self._skew.of(matrix).tolist()
        answers, events, at = [], [], 0
        for call in calls:
            answer = []
            for position, row in enumerate(call.rows):
                prediction = self._prediction(call, position, row, found[at], scores[at], skew[at])
                answer.append(prediction)
                events.append(self._event(call, prediction, row, found[at], now))
                at += 1
            answers.append(answer)
        self._events.append(events)
        return answers

    def _prediction(
        self, call: Call, position: int, row: dict[str, Any], features: FeatureRow, score: float, skew: float
    ) -> dict[str, Any]:
        ident = row.get(RESERVED) or (call.request_id if len(call.rows) == 1 else f"{call.request_id}-{position}")
        prediction: dict[str, Any] = {
            "request_id": ident,
            "probability": score,
            "prediction_time": self._deriver.prediction_time(row),
            "feature_times": features.times,
            "missing_features": [name for name in self._feature_names if name not in features.values],
            "input_skew": round(skew, 4) if self.knows_skew else None,
        }
        label = self.model.label(score)
        if label is not None:
            prediction["label"] = label
        return prediction

    def _event(
        self, call: Call, prediction: dict[str, Any], row: dict[str, Any], features: FeatureRow, now: datetime
    ) -> dict[str, Any]:
        return {
            "event_id": str(uuid.uuid4()),
            "request_id": prediction["request_id"],
            "model": self.spec.model,
            "version": self.version,
            "arm": self.arm,
            "caller": call.caller,
            "request": {name: value for name, value in row.items() if name != RESERVED},
            "features": features.values,
            "feature_times": features.times,
            "window": self._features.window if self._features is not None else None,
            "score": prediction["probability"],
            "label": prediction.get("label"),
            "input_skew": prediction["input_skew"],
            "prediction_time": prediction["prediction_time"],
            "served_at": now,
            "latency_ms": round((time.perf_counter() - call.received) * 1000, 3),
        }
