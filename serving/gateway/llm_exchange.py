"""One request to a language model, from its admission to its one record."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from serving.gateway.limits import Limits, Ticket
from serving.gateway.llm_answer import Answer
from serving.gateway.llm_metrics import Recorder
from serving.gateway.llm_models import Served, ServedModels
from serving.gateway.llm_upstream import Failed, Opened
from serving.rollout.observations import parse_split

CLIENT_GONE = 499


@dataclass
class Exchange:
    """``status`` and ``error`` are what is recorded; a stream that broke keeps its 502 although 200 was sent."""

    recorder: Recorder
    limits: Limits
    models: ServedModels
    kind: str
    ident: str
    caller: str
    model: str
    served: Served
    request: dict[str, Any]
    ticket: Ticket
    opened: Opened | None = None
    user: str | None = None
    fallback_from: str | None = None
    status: int = CLIENT_GONE
    error: str | None = "client_gone"
    at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.perf_counter)
    finished: bool = False
    # The answer once it is given, None of one that is not whole: what a shadow's is compared with.
    answered: asyncio.Future[Answer | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def streamed(self) -> bool:
        return bool(self.request.get("stream"))

    def ended(self, status: int, error: str | None = None) -> None:
        """Say how it went, for the record."""
        self.status, self.error = status, error

    def failed_over(self, failed: Failed) -> None:
        """Record an attempt that stable is asked to make good."""
        self.fallback_from = failed.arm or "unknown"
        self.recorder.metrics.fallbacks.labels(self.model, self.fallback_from, failed.reason).inc()
        self.recorder.take(self._record(failed.arm, failed.split, failed.status, failed.reason, None, 1))

    def finish(self) -> None:
        """Let go of the connection and of the limits, and record; a second call changes nothing."""
        if self.finished:
            return
        self.finished = True
        opened = self.opened
        answer = opened.answer if opened else None
        if opened is not None:
            opened.response.close()
        self.limits.settle(self.ticket, answer.prompt_tokens + answer.completion_tokens if answer else 0)
        self.recorder.metrics.running.labels(self.model).dec()
        arm, split = (opened.arm, opened.split) if opened else (None, None)
        attempt = 2 if self.fallback_from else 1
        self.recorder.take(self._record(arm, split, self.status, self.error, answer, attempt))
        self._tell(answer if self.status == 200 else None)

    def _tell(self, answer: Answer | None) -> None:
        if not self.answered.done():
            self.answered.set_result(answer)

    def failed(self, failed: Failed) -> None:
        """Record that nobody answered."""
        self.finished = True
        self.limits.settle(self.ticket, 0)
        self.recorder.metrics.running.labels(self.model).dec()
        attempt = 2 if self.fallback_from else 1
        self.recorder.take(self._record(failed.arm, failed.split, failed.status, failed.reason, None, attempt))
        self._tell(None)

    def _record(
        self, arm: str | None, split: str | None, status: int, error: str | None, answer: Answer | None, attempt: int
    ) -> dict[str, Any]:
        rollout, percent = parse_split(split)
        version = self.served.version(arm)
        spec = (self.models.spec(self.model, version) if version else None) or self.served.spec
        whole = answer is not None and status == 200
        return {
            "at": self.at,
            "request_id": self.ident,
            "attempt": attempt,
            "caller": self.caller,
            "user": self.user,
            "model": self.model,
            "version": version,
            "arm": arm,
            "rollout": rollout,
            "percent": percent,
            "kind": self.kind,
            "stream": self.streamed,
            "status": status,
            "error": error,
            "fallback_from": self.fallback_from if attempt == 2 else None,
            "latency_ms": round((time.perf_counter() - self.started) * 1000, 3),
            "ttft_ms": answer.ttft_ms if answer else None,
            "inter_token_ms": answer.inter_token_ms if whole and answer else None,
            "prompt_tokens": answer.prompt_tokens if answer else 0,
            "completion_tokens": answer.completion_tokens if answer else 0,
            "finish_reason": answer.finish_reason if answer else None,
            "refusal": answer.refusal(spec.refusal_phrases) if whole and answer else False,
            "invalid": answer.invalid(self.request) if whole and answer else None,
            "cost": spec.cost(answer.prompt_tokens, answer.completion_tokens) if answer else 0.0,
        }
