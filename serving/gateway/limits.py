"""How much a caller may ask of language models a minute, and how much a model takes at once. In this process's memory.

Token buckets: a full bucket is a minute's worth, and refills steadily. What a request will cost in tokens is known when
it ends, so its largest cost is taken when it starts and the difference given back.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from serving.gateway.answers import Refusal
from serving.gateway.keys import Caller

MINUTE = 60.0


@dataclass
class Bucket:
    """``per_minute`` units flow in a minute, and at most that many lie in it. A debt is paid by waiting."""

    per_minute: float
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.per_minute

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` can be taken; 0 is now. More than the bucket holds counts as a full bucket."""
        self._refill(now)
        missing = min(amount, self.per_minute) - self.level
        return max(0.0, missing * MINUTE / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Take ``amount``, or give it back when it is negative."""
        self._refill(now)
        self.level = min(self.per_minute, self.level - amount)

    def _refill(self, now: float) -> None:
        self.level = min(self.per_minute, self.level + max(0.0, now - self.at) * self.per_minute / MINUTE)
        self.at = max(self.at, now)


@dataclass
class Ticket:
    """What an admitted request holds until it is settled."""

    caller: str
    model: str
    taken: int
    settled: bool = False


class Limits:
    """Admits and settles requests. Used on one event loop."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self.running: Counter[str] = Counter()

    def _bucket(self, caller: str, kind: str, per_minute: int, now: float) -> Bucket:
        bucket = self._buckets.get((caller, kind))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[caller, kind] = Bucket(per_minute, at=now)
        return bucket

    def admit(self, caller: Caller, model: str, tokens: int, at_once: int, now: float | None = None) -> Ticket:
        """Let a request in.

        Args:
            tokens: the most that it can cost, prompt and answer.
            at_once: requests that the model takes at once.
            now: monotonic seconds.

        Raises:
            Refusal: 429, with the seconds after which it is worth another try. Nothing was taken then.
        """
        now = time.monotonic() if now is None else now
        if self.running[model] >= at_once:
            message = f"model {model} answers {at_once} requests already, which is what it takes at once"
            raise Refusal(429, "overloaded", message)
        declared = {"requests": caller.requests_per_minute, "tokens": caller.tokens_per_minute}
        amounts = {"requests": 1, "tokens": tokens}
        buckets = {kind: self._bucket(caller.id, kind, limit, now) for kind, limit in declared.items() if limit}
        for kind, bucket in buckets.items():
            seconds = bucket.wait(amounts[kind], now)
            if seconds > 0:
                message = f"key {caller.id!r} may use {bucket.per_minute:.0f} {kind} a minute; wait {seconds:.1f} s"
                raise Refusal(429, f"{kind}_per_minute", message, retry_after=max(1, math.ceil(seconds)))
        for kind, bucket in buckets.items():
            bucket.take(min(amounts[kind], bucket.per_minute), now)
        self.running[model] += 1
        held = buckets.get("tokens")
        return Ticket(caller.id, model, int(min(tokens, held.per_minute)) if held else 0)

    def settle(self, ticket: Ticket, tokens: int, now: float | None = None) -> None:
        """End a request that cost ``tokens``; a second call changes nothing."""
        if ticket.settled:
            return
        ticket.settled = True
        self.running[ticket.model] -= 1
        bucket = self._buckets.get((ticket.caller, "tokens"))
        if bucket is not None and ticket.taken:
            bucket.take(tokens - ticket.taken, time.monotonic() if now is None else now)
