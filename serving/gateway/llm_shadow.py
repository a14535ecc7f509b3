"""Copies of requests for a shadow release of a language model, and how far its answers are from those users got.

The router could copy a request, but it throws the copy's answer away, and a language model's server keeps none. So the
gateway asks both, and tells the rollout one number a pair.
"""

from __future__ import annotations

import asyncio
import difflib
import random
import re
import time
from typing import Any

import orjson

from serving.gateway.answers import ID_HEADER
from serving.gateway.llm_answer import Answer
from serving.gateway.llm_exchange import Exchange
from serving.gateway.llm_metrics import LLMMetrics
from serving.gateway.llm_models import ServedModels
from serving.gateway.llm_upstream import Failed, Upstream
from serving.rollout.observations import DIFFERENCE, Observation, ObservationWriter

WORDS = re.compile(r"\w+|[^\w\s]")


def difference(one: str, other: str) -> float:
    """How far two texts are apart, 0 (the same words) to 1 (no word in common): 1 - Ratcliff and Obershelp's ratio.

    Marks are words of their own, so that JSON without a space is compared by its fields.
    """
    return 1 - difflib.SequenceMatcher(None, WORDS.findall(one), WORDS.findall(other), autojunk=False).ratio()


def copied(body: dict[str, Any]) -> dict[str, Any] | None:
    """The request to ask a shadow; None of one whose answers differ by chance: only greedy decoding can be compared."""
    if body.get("temperature") != 0 or body.get("n") not in (None, 1):
        return None
    return {name: value for name, value in body.items() if name not in ("stream", "stream_options")}


class Shadows:
    """Asks shadows beside the arms that answer users, in the background and never more at once than they declare."""

    def __init__(self, upstream: Upstream, models: ServedModels, metrics: LLMMetrics) -> None:
        self._upstream, self._models, self._metrics = upstream, models, metrics
        self._running: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, exchange: Exchange, path: str, observations: ObservationWriter | None) -> None:
        """Ask the shadow of the exchange's model the same, if there is one; compared when the exchange is over."""
        state = exchange.served.state
        if state.mirror is None or state.running is None or observations is None:
            return
        arm, percent = state.mirror
        body = copied(exchange.request)
        spec = self._models.spec(exchange.model, state.running.version)
        if body is None or spec is None or self._running.get(arm, 0) >= spec.limit or random.random() * 100 >= percent:
            return
        self._running[arm] = self._running.get(arm, 0) + 1
        headers = {ID_HEADER: exchange.ident, "x-clearway-caller": exchange.caller}
        asked = asyncio.create_task(self._ask(exchange.model, arm, path, body, headers))
        asked.add_done_callback(lambda _: self._running.__setitem__(arm, self._running[arm] - 1))
        task = asyncio.create_task(self._compare(exchange, arm, state.running.id, asked, observations))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, model: str, arm: str, path: str, body: dict[str, Any], headers: dict[str, str]
                   ) -> tuple[int, Answer | None, float]:  # fmt: skip
        """Status, answer (of a status of 200) and ms."""
        started = time.perf_counter()
        version = self._models.find(model)
        spec = (version and self._models.spec(model, version.version(arm) or "")) or None
        answer, status = None, 502
        try:
            if spec is not None:
                opened = await self._upstream.attempt(model, path, body, headers, spec, arm)
                status = opened.response.status
                if status == 200:
                    opened.answer.read_body(orjson.loads(opened.body))
                    answer = opened.answer
                opened.response.close()
        except Failed as failed:
            status = failed.status
        except (ValueError, AttributeError, TypeError):
            status = 502
        return status, answer, (time.perf_counter() - started) * 1000

    async def _compare(
        self,
        exchange: Exchange,
        arm: str,
        rollout: str,
        asked: asyncio.Task[tuple[int, Answer | None, float]],
        observations: ObservationWriter,
    ) -> None:
        try:
            status, answer, latency = await asked
            self._metrics.copies.labels(exchange.model, arm, str(status)).inc()
            if answer is not None:
                for kind, tokens in (("prompt", answer.prompt_tokens), ("completion", answer.completion_tokens)):
                    self._metrics.tokens.labels(exchange.model, arm, kind).inc(tokens)
            theirs = await exchange.answered
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if theirs is None:
            return  # what users got is not whole: there is nothing to compare with
        apart = 1.0
        if answer is not None:
            apart = await asyncio.to_thread(difference, theirs.whole, answer.whole)
        measures = {DIFFERENCE: round(apart, 6), "latency_ms": round(latency, 3)}
        observations.write(
            Observation(exchange.at, exchange.ident, exchange.model, arm, status, rollout, None, measures)
        )

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
