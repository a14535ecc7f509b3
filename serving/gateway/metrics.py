"""What the gateway exports in Prometheus format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serving.models.metrics import LATENCY_SECONDS


class GatewayMetrics:
    """Requests, refusals and latency by route and model."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "clearway_gateway_requests", "Requests by outcome.", ["route", "model", "code"], registry=self.registry
        )
        self._refusals = Counter(
            "clearway_gateway_refusals", "Refused requests by reason.", ["route", "model", "reason"],
            registry=self.registry,
        )  # fmt: skip
        self._latency = Histogram(
            "clearway_gateway_latency_seconds",
            "Time from a request's receipt to its answer.",
            ["route", "model"],
            buckets=LATENCY_SECONDS,
            registry=self.registry,
        )

        self._fallbacks = Counter(
            "clearway_gateway_fallbacks",
            "Predictions that stable gave for an arm that is being tried, by the arm and its status.",
            ["model", "arm", "code"],
            registry=self.registry,
        )

    def fell_back(self, model: str, arm: str, code: int) -> None:
        """Count a request that stable was asked for another arm."""
        self._fallbacks.labels(model, arm, str(code)).inc()

    def observe(self, route: str, model: str, code: int, seconds: float, reason: str | None = None) -> None:
        """Count one finished request."""
        self._requests.labels(route, model, str(code)).inc()
        self._latency.labels(route, model).observe(seconds)
        if reason is not None:
            self._refusals.labels(route, model, reason).inc()

    def render(self) -> bytes:
        return generate_latest(self.registry)
