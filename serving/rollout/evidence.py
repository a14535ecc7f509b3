"""Sequential evidence for "is the new version worse than stable?", request by request. Pure; takes arrays.

Each request is randomised: it goes to the new version with probability ``w``, known at that moment. With ``A`` = 1 when
the new version answered, ``Y`` in [0, 1] its outcome (higher is worse) and ``m`` any number known beforehand,

    Z = (A / w - (1 - A) / (1 - w)) (Y - m)

has the difference of the two versions' means as its expectation, whatever ``w`` and the base rate do over time (inverse
probability weighting; Karampatziakis, Mineiro and Ramdas, ICML 2021; Waudby-Smith, Wu, Ramdas, Karampatziakis and
Mineiro, arXiv 2210.10768). A gambler who bets a fraction against "the difference is at most d" has the wealth

    E = prod (1 + l (Z - d))

which is a nonnegative supermartingale while that is true, so it ever reaches 1/a with probability at most a (Ville), at
whichever of all moments one looks (betting: Waudby-Smith and Ramdas, arXiv 2010.09686). Several fractions ``l`` are
played at once with the stake split between them. A part of the stake is kept for gamblers who begin later, so that
wealth lost while a version was healthy does not hide a fault that begins in mid-rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
# One more bet, made for a version that fails nearly always: centred at m = w, where only A and Y agreeing wins.
FAILURE_FRACTION, FAILURE_STAKE = 0.95, 0.2
# Of the stake, this much is played from the start and the rest kept for later gamblers.
FIRST_STAKE = 0.8


@dataclass
class Evidence:
    """The evidence of one gate, updated with batches of requests in their order.

    Args:
        rollback_margin: the difference of means (new - stable) up to which the new version may stay, in units of Y.
        promote_margin: the difference below which it may be promoted.
        restart_s: seconds between fresh gamblers.
        failure_bet: whether a part of the stake is on a version that always fails (for binary outcomes).

    Attributes:
        rollback: e-value against "worse by at most ``rollback_margin``"; large is bad for the new version.
        promote: e-value against "worse by at least ``promote_margin``"; large is good for it.
    """

    rollback_margin: float
    promote_margin: float
    restart_s: float = 30.0
    failure_bet: bool = True
    rollback: float = 1.0
    promote: float = 1.0
    count: int = 0
    _bets: int = field(init=False)
    _wealth: Array = field(init=False)  # log wealth of each bet since the beginning
    _begun: Array = field(init=False)  # log of sum of stake / (wealth at its start), over gamblers that have begun
    _kept: float = field(init=False)  # stake of those who have not
    _last: float | None = field(init=False, default=None)
    _elapsed: int = field(init=False, default=0)  # nanoseconds, as the two below
    _next: int = field(init=False)
    _restart_ns: int = field(init=False)
    _restarts: int = field(init=False, default=0)
    _promote_wealth: Array = field(init=False)

    def __post_init__(self) -> None:
        n = len(FRACTIONS)
        stakes = np.full(n, (1 - FAILURE_STAKE if self.failure_bet else 1.0) / n)
        self._stakes = np.log(np.append(stakes, FAILURE_STAKE) if self.failure_bet else stakes)
        self._fractions = np.array([*FRACTIONS, FAILURE_FRACTION] if self.failure_bet else FRACTIONS)
        self._bets = len(self._fractions)
        self._restart_ns = round(self.restart_s * 1e9)
        self._next = self._restart_ns
        self._wealth = np.zeros(self._bets)
        self._begun = np.full(self._bets, np.log(FIRST_STAKE))
        self._kept = 1 - FIRST_STAKE
        self._promote_wealth = np.zeros(n)

    def update(
        self, at: Array, new: NDArray[np.bool_], weight: Array, outcome: Array, centre: Array
    ) -> tuple[Array, Array]:
        """Take in requests; all arguments have shape (n,).

        Args:
            at: seconds, in the order of the requests; only differences count, and a jump starts one fresh gambler.
            new: whether the new version answered.
            weight: probability with which the new version was chosen, in (0, 1).
            outcome: Y in [0, 1], higher is worse.
            centre: m, known before the request, in [0, 1].

        Returns:
            ``rollback`` and ``promote`` after each request, shape (n,).

        Raises:
            ValueError: a weight or an outcome is out of its range; nothing was taken in.
        """
        if not len(at):
            return np.empty(0), np.empty(0)
        if np.any((weight <= 0) | (weight >= 1)):
            raise ValueError("weights lie strictly between 0 and 1")
        if not np.all((outcome >= 0) & (outcome <= 1) & (centre >= 0) & (centre <= 1)):
            raise ValueError("outcomes and centres lie in [0, 1]")
        sign = np.where(new, 1 / weight, -1 / (1 - weight))
        z = sign * (outcome - centre)
        steps = self._growth(z, weight, centre)
        if self.failure_bet:
            steps[:, -1] = self._bet(
                sign * (outcome - weight), np.ones_like(weight), self._fractions[-1:], self.rollback_margin
            )[:, 0]
        rollback = np.empty(len(at))
        begin = 0
        for end in self._boundaries(at):
            part = self._wealth + np.cumsum(steps[begin:end], axis=0)
            rollback[begin:end] = _sum_exp(part + self._begun + self._stakes) + self._kept
            if end > begin:
                self._wealth = part[-1]
            if end < len(at):
                self._restart()
            begin = end
        worst = np.maximum((1 - centre) / weight, centre / (1 - weight))
        gains = self._bet(-z, worst, np.array(FRACTIONS), -self.promote_margin)
        wealth = self._promote_wealth + np.cumsum(gains, axis=0)
        promote = _sum_exp(wealth - np.log(len(FRACTIONS)))
        self._promote_wealth = wealth[-1]
        self.count += len(at)
        self.rollback, self.promote = float(rollback[-1]), float(promote[-1])
        return rollback, promote

    def _growth(self, z: Array, weight: Array, centre: Array) -> Array:
        worst = np.maximum(centre / weight, (1 - centre) / (1 - weight))
        return self._bet(z, worst, self._fractions, self.rollback_margin)

    @staticmethod
    def _bet(z: Array, worst: Array, fractions: Array, margin: float) -> Array:
        """Log growth (n, k) of bets of ``fractions`` of the most that may be bet when Z is never below -``worst``."""
        most = 1 / (worst + margin)
        return np.log1p(fractions * (most * (z - margin))[:, None])

    def _boundaries(self, at: Array) -> list[int]:
        """Positions before which a fresh gambler begins, then the end."""
        # A clock that goes back stands still here, and one that leaps ahead starts a single gambler. Whole nanoseconds:
        # a sum of floats would depend on how requests come in batches, and so would the moment of a restart.
        steps = np.clip(np.diff(at, prepend=at[0] if self._last is None else self._last), 0, self.restart_s)
        elapsed = self._elapsed + np.cumsum(np.rint(steps * 1e9).astype(np.int64))
        self._last, self._elapsed = float(at[-1]), int(elapsed[-1])
        found: list[int] = []
        position = 0
        while True:
            later = np.flatnonzero(elapsed[position:] >= self._next)
            if not len(later):
                return [*found, len(at)]
            position += int(later[0])
            found.append(position)
            self._next = int(elapsed[position]) + self._restart_ns

    def _restart(self) -> None:
        self._restarts += 1
        stake = (1 - FIRST_STAKE) / (self._restarts * (self._restarts + 1))
        self._kept -= stake
        self._begun = np.logaddexp(self._begun, np.log(stake) - self._wealth)


def _sum_exp(logs: Array) -> Array:
    """Sum of exponentials along the last axis, (n, k) to (n,); beyond what a float holds it is the largest float."""
    with np.errstate(over="ignore"):
        return np.asarray(np.minimum(np.exp(logs).sum(axis=1), np.finfo(np.float64).max))


@dataclass
class PairEvidence:
    """Evidence on the mean of outcomes in [0, 1] against one bound, for what is seen of every request.

    Attributes:
        above: e-value against "the mean is at most ``bound``".
        below: e-value against "the mean is at least ``bound``".
    """

    bound: float
    above: float = 1.0
    below: float = 1.0
    _wealth: Array = field(init=False)

    def __post_init__(self) -> None:
        self._wealth = np.zeros((2, len(FRACTIONS)))

    def update(self, outcome: Array) -> tuple[Array, Array]:
        """Take in outcomes, shape (n,); returns ``above`` and ``below`` after each."""
        if not len(outcome):
            return np.empty(0), np.empty(0)
        fractions, zero = np.array(FRACTIONS), np.zeros(len(outcome))
        steps = (
            Evidence._bet(outcome, zero, fractions, self.bound),
            Evidence._bet(-outcome, zero + 1, fractions, -self.bound),
        )
        paths = [self._wealth[i] + np.cumsum(step, axis=0) for i, step in enumerate(steps)]
        self._wealth = np.array([path[-1] for path in paths])
        above, below = (_sum_exp(path - np.log(len(FRACTIONS))) for path in paths)
        self.above, self.below = float(above[-1]), float(below[-1])
        return above, below


@dataclass
class RunningMean:
    """A mean that is known before each next value: the centre of outcomes whose level nobody declared.

    Args:
        first: what it is before any value, which counts as ``prior`` values.
    """

    first: float = 0.5
    prior: float = 10.0
    total: float = 0.0
    count: int = 0

    def before(self, values: Array) -> Array:
        """The mean before each value, shape (n,); then takes them in."""
        counts = self.count + np.arange(len(values))
        sums = self.total + np.concatenate([[0.0], np.cumsum(values)[:-1]]) if len(values) else np.empty(0)
        means = (self.first * self.prior + sums) / (self.prior + counts)
        self.total += float(np.sum(values))
        self.count += len(values)
        return np.asarray(means)


# How far the odds of the real split may be from the declared ones, as shifts of the logit.
SHIFTS = tuple(sign * s for s in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6) for sign in (1, -1))


@dataclass
class SampleRatio:
    """Evidence that requests are not split as declared: a router at fault, or requests lost before they count.

    A likelihood ratio of shifted odds against the declared ones, mixed over ``SHIFTS`` (the sequential sample ratio
    test of Lindon and Malek, NeurIPS 2022).

    Attributes:
        value: e-value against "the split is as declared".
    """

    value: float = 1.0
    _log: Array = field(init=False)

    def __post_init__(self) -> None:
        self._log = np.zeros(len(SHIFTS))

    def update(self, new: NDArray[np.bool_], weight: Array) -> Array:
        """Take in requests, shape (n,); returns the value after each."""
        if not len(new):
            return np.empty(0)
        odds = np.log(weight / (1 - weight))[:, None] + np.array(SHIFTS)
        shifted = 1 / (1 + np.exp(-odds))
        w = weight[:, None]
        steps = np.where(new[:, None], np.log(shifted / w), np.log((1 - shifted) / (1 - w)))
        path = self._log + np.cumsum(steps, axis=0)
        self._log = path[-1]
        values = _sum_exp(path - np.log(len(SHIFTS)))
        self.value = float(values[-1])
        return values
