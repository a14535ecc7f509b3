"""What became of each LLM request: metrics in Prometheus format by model and arm, an event, and what rollouts judge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.errors import ClearwayError
from serving.events.writer import EventWriter
from serving.llm import paths
from serving.settings import Settings

log = logging.getLogger(__name__)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1)
# Numbers of a record that a gate may compare.
MEASURES = ("latency_ms", "ttft_ms", "inter_token_ms", "refused", "refusal", "invalid", "cost")
Observe = Callable[[dict[str, Any]], None]


class LLMMetrics:
    """Counters and histograms, labelled by model and arm; ``arm`` is ``none`` of requests that reached no arm."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"clearway_llm_{name}", text, ["model", *labels], registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"clearway_llm_{name}", text, ["model", "arm"], buckets=buckets, registry=registry)

        self.requests = counter(
            "requests", "Requests by status; a stream that broke counts as 502 or 504.", "arm", "code"
        )
        self.tokens = counter("tokens", "Tokens of prompts and completions.", "arm", "kind")
        self.refusals = counter("refusals", "Answers in which the model declined.", "arm")
        self.judged = counter("judged", "Answers that had to have a form, by whether they had it.", "arm", "valid")
        self.cost = counter("cost", "Cost by the version's prices.", "arm")
        self.fallbacks = counter("fallbacks", "Requests that stable answered for another arm, by why.", "arm", "reason")
        self.copies = counter("copies", "Copies that a shadow was asked, by what it answered.", "arm", "code")
        self.limited = counter("limited", "Requests refused with 429, by limit.", "reason")
        self.unrecorded = counter("unrecorded", "Records lost to a full or failing disk.")
        self.running = Gauge(
            "clearway_llm_running", "Requests that are being answered.", ["model"], registry=registry
        )  # fmt: skip
        self.latency = histogram("latency_seconds", "From a request's receipt to the end of its answer.", SECONDS)
        self.ttft = histogram(
            "time_to_first_token_seconds", "From sending to an arm to a stream's first token.", SECONDS
        )
        self.inter_token = histogram("inter_token_seconds", "Mean time between a stream's tokens.", TOKEN_SECONDS)

    def count(self, record: dict[str, Any]) -> None:
        """Count one record."""
        own = (record["model"], record["arm"] or "none")
        self.requests.labels(*own, str(record["status"])).inc()
        for kind in ("prompt", "completion"):
            self.tokens.labels(*own, kind).inc(record[f"{kind}_tokens"])
        if record["refusal"]:
            self.refusals.labels(*own).inc()
        if record["invalid"] is not None:
            self.judged.labels(*own, "no" if record["invalid"] else "yes").inc()
        self.cost.labels(*own).inc(record["cost"])
        histograms = {"latency_ms": self.latency, "ttft_ms": self.ttft, "inter_token_ms": self.inter_token}
        for name, histogram in histograms.items():
            if record[name] is not None:
                histogram.labels(*own).observe(record[name] / 1000)


def measures(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record by which gates compare arms; what was not measured is left out."""
    refused = {**record, "refused": 400 <= record["status"] < 500}
    return {name: round(float(refused[name]), 6) for name in MEASURES if refused[name] is not None}


class Recorder:
    """Takes each record once: counts it, appends it to the events, hands it to whoever observes."""

    def __init__(self, settings: Settings, metrics: LLMMetrics, process: str = "gateway") -> None:
        self._folder = paths.llm_events(settings) / process
        self._writer: EventWriter | None = None
        self.metrics = metrics
        self.observers: list[Observe] = []

    def take(self, record: dict[str, Any]) -> None:
        """The answer has been given by now, so a failing disk is logged and counted, and costs nobody an answer."""
        self.metrics.count(record)
        try:
            if self._writer is None:
                self._writer = EventWriter(self._folder)
            self._writer.append([record])
        except (ClearwayError, OSError) as error:
            self.metrics.unrecorded.labels(record["model"]).inc()
            log.error("a record is lost: %s", error)
        for observe in self.observers:
            try:
                observe(record)
            except Exception:  # of whoever observes; the answer is not theirs to break
                log.exception("an observer failed")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
