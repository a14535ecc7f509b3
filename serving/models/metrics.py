"""What a model server exports in Prometheus format, labelled by model, version and arm."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class ServerMetrics:
    """Counters and histograms of one server, in a registry of their own."""

    def __init__(self, model: str, version: str, arm: str) -> None:
        self.registry = CollectorRegistry()
        labels, own = ["model", "version", "arm"], (model, version, arm)
        self.requests = Counter(
            "clearway_model_requests", "Calls of /predict by outcome.", [*labels, "code"], registry=self.registry
        )
        self.errors = Counter(
            "clearway_model_errors", "Calls not answered, by reason.", [*labels, "reason"], registry=self.registry
        )
        self.predictions = self._of(own, "clearway_model_predictions", "Predictions given out.", labels)
        self.missing = self._of(own, "clearway_model_missing_features", "Feature values that were missing.", labels)
        self.ready = Gauge(
            "clearway_model_ready", "1 when model and features are ready.", labels, registry=self.registry
        ).labels(*own)
        self.latency = Histogram(
            "clearway_model_latency_seconds",
            "Time from a call's receipt to its answer.",
            labels,
            buckets=LATENCY_SECONDS,
            registry=self.registry,
        ).labels(*own)
        self.batch = Histogram(
            "clearway_model_batch_rows", "Rows in a batch.", labels, buckets=BATCH_ROWS, registry=self.registry
        ).labels(*own)
        self.skew = Histogram(
            "clearway_model_input_skew",
            "Share of a call's inputs outside what training saw.",
            labels,
            buckets=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            registry=self.registry,
        ).labels(*own)
        self._own = own

    def _of(self, own: tuple[str, str, str], name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry).labels(*own)

    def count(self, code: int, reason: str | None = None) -> None:
        """Count a finished call."""
        self.requests.labels(*self._own, str(code)).inc()
        if reason is not None:
            self.errors.labels(*self._own, reason).inc()

    def render(self) -> bytes:
        return generate_latest(self.registry)
