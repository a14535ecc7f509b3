"""Seeded streams of requests between two versions, and what the gates of a plan make of them. No process, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.rollout.evidence import Evidence, SampleRatio

Array = NDArray[np.float64]
# (percent of traffic, seconds); the last step lasts until the decision.
STEPS: tuple[tuple[int, float], ...] = ((10, 60.0), (20, 60.0), (30, 60.0), (40, 60.0), (50, float("inf")))


@dataclass(frozen=True)
class Stream:
    """Requests in the order of their arrival; all arrays have shape (n,).

    Attributes:
        at: seconds since the first step.
        weight: probability with which the new version was chosen.
        new: whether it was.
        failed: whether the request ended in an error.
    """

    at: Array
    weight: Array
    new: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    def until(self, seconds: float) -> Stream:
        keep = self.at < seconds
        return Stream(self.at[keep], self.weight[keep], self.new[keep], self.failed[keep])


Rate = float | Callable[[Array], Array]


def stream(
    stable: Rate,
    new: Rate,
    seconds: float,
    seed: int,
    per_second: float = 10.0,
    steps: Sequence[tuple[int, float]] = STEPS,
    tilt: float = 1.0,
) -> Stream:
    """Poisson arrivals under rising weights.

    Args:
        stable, new: share of failed requests, or a function from seconds (n,) to it.
        tilt: what the router really sends to the new version, relative to the declared weight.
    """
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / per_second, int(seconds * per_second * 1.2) + 50))
    at = at[at < seconds]
    ends = np.cumsum([duration for _, duration in steps])
    weight = np.array([percent / 100 for percent, _ in steps])[np.searchsorted(ends, at, side="right")]
    chosen = rng.random(len(at)) < weight * tilt
    rates = np.where(chosen, _at(new, at), _at(stable, at))
    return Stream(at, weight, chosen, rng.random(len(at)) < rates)


def _at(rate: Rate, at: Array) -> Array:
    return rate(at) if callable(rate) else np.full(len(at), rate)


@dataclass(frozen=True)
class Verdict:
    """When and how a stream was decided: ``rolled_back``, ``promoted``, ``held`` or ``undecided``; ``bad`` counts the
    failed answers that the new version gave until then."""

    outcome: str
    seconds: float
    bad: int


def first(mask: NDArray[np.bool_]) -> int | None:
    """Position of the first True, or None."""
    return int(np.argmax(mask)) if mask.any() else None


def engine(
    s: Stream,
    alpha: float = 0.01,
    share: float = 0.4,
    rollback_margin: float = 0.002,
    promote_margin: float = 0.01,
    evidence: float = 20.0,
    min_requests: int = 100,
    promote_from: float = 0.5,
    restart_s: float = 30.0,
) -> Verdict:
    """The error gate and the sample ratio as a plan's defaults have them, looked at after every request.

    The other gates, which share alpha, are taken to see nothing: their evidence is 1.
    """
    gate = Evidence(rollback_margin, promote_margin, restart_s)
    rollback, promote = gate.update(s.at, s.new, s.weight, s.failed.astype(float), np.zeros(len(s.at)))
    ratio = SampleRatio().update(s.new, s.weight)
    events = {
        "rolled_back": first(share * rollback + (1 - share) >= 1 / alpha),
        "held": first(ratio >= 1000),
        "promoted": first((promote >= evidence) & (s.weight >= promote_from) & (np.cumsum(s.new) >= min_requests)),
    }
    found = {name: position for name, position in events.items() if position is not None}
    if not found:
        return Verdict("undecided", float("inf"), int((s.failed & s.new).sum()))
    outcome = min(found, key=lambda name: found[name])
    end = found[outcome]
    return Verdict(outcome, float(s.at[end]), int((s.failed & s.new)[: end + 1].sum()))
