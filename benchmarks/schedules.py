"""Schedules of retraining over a replayed year: what each loses and costs, and how surely two of them differ. Pure.

One model is fitted before the first month and one at every review. When each has been scored on all later months, the
loss of any schedule is looked up: in every month the newest model that the schedule fitted answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from assets.monitoring.decision import Policy, Review, Verdict

Array = NDArray[np.float64]
Schedule = tuple[bool, ...]  # whether each review retrains, in their order


@dataclass(frozen=True)
class Losses:
    """Log loss of every model on every later day, of one target and seed.

    Attributes:
        sums: nats over the day's predictions, shape (reviews + 1, days); model 0 was fitted before the first month,
            model i at review i. NaN on days before its fit.
        counts: predictions of the day, shape (days,).
        months: of each day, shape (days,): 0 before the first review, i after review i.
        blocks: number of the block that is resampled as a whole, shape (days,).
    """

    sums: Array
    counts: NDArray[np.int64]
    months: NDArray[np.int64]
    blocks: NDArray[np.int64]

    def since(self, month: int) -> Losses:
        """Without the days of earlier months."""
        kept = self.months >= month
        return Losses(self.sums[:, kept], self.counts[kept], self.months[kept], self.blocks[kept])

    @property
    def predictions(self) -> int:
        return int(self.counts.sum())


def every(reviews: int) -> list[Schedule]:
    """All schedules of so many reviews, 2 to their power."""
    return list(product((False, True), repeat=reviews))


def evenly_spaced(reviews: int) -> list[Schedule]:
    """Schedules that retrain at some review and every so many after it, as a calendar does; none twice."""
    found = {
        tuple(number >= first and (number - first) % apart == 0 for number in range(reviews)): None
        for apart in range(1, reviews + 1)
        for first in range(reviews)
    }
    return list(found)


def in_force(schedule: Schedule) -> NDArray[np.int64]:
    """The model that answers in each month, shape (reviews + 1,): the newest that was fitted by then."""
    fitted = [0, *(number if retrains else 0 for number, retrains in enumerate(schedule, start=1))]
    return np.maximum.accumulate(np.array(fitted, dtype=np.int64))


def lost(losses: Losses, schedule: Schedule) -> Array:
    """Nats of the schedule by day, shape (days,)."""
    models = in_force(schedule)[losses.months]
    return np.asarray(losses.sums[models, np.arange(len(models))], dtype=np.float64)


def pooled(losses: Losses, schedule: Schedule) -> float:
    """Log loss over all predictions, in nats."""
    return float(lost(losses, schedule).sum()) / losses.predictions


def objective(seeds: Sequence[Losses], schedules: Sequence[Schedule], cost: float) -> float:
    """J: pooled log loss and what its retrainings cost, in nats, mean over the seeds.

    Args:
        schedules: one a seed.
        cost: of one retraining, in pooled log loss.
    """
    each = [pooled(one, schedule) + cost * sum(schedule) for one, schedule in zip(seeds, schedules, strict=True)]
    return float(np.mean(each))


def fixed(seeds: Sequence[Losses], schedule: Schedule) -> list[Schedule]:
    """The same schedule for every seed."""
    return [schedule] * len(seeds)


def frontier(seeds: Sequence[Losses], reviews: int) -> list[tuple[Schedule, float]]:
    """By number of retrainings, from none on: the schedule of the least pooled log loss, with hindsight, and that loss.

    The loss is the mean over the seeds; one schedule serves all of them.
    """
    best: dict[int, tuple[Schedule, float]] = {}
    for schedule in every(reviews):
        loss, count = objective(seeds, fixed(seeds, schedule), 0.0), sum(schedule)
        if count not in best or loss < best[count][1]:
            best[count] = (schedule, loss)
    return [best[count] for count in range(reviews + 1)]


def as_sparse(seeds: Sequence[Losses], reviews: int, count: int, cost: float) -> Array:
    """J of every schedule of ``count`` retrainings, sorted: what chance would have had, without a look at the data."""
    equal = (schedule for schedule in every(reviews) if sum(schedule) == count)
    return np.sort([objective(seeds, fixed(seeds, schedule), cost) for schedule in equal])


def regret(own: float, best: float, never: float) -> float:
    """Share of what never retraining loses to the best schedule that is lost still; 0 is the best, 1 as bad as never.

    Raises:
        ValueError: never retraining is itself the best, so there is no regret to share.
    """
    if never <= best:
        raise ValueError("never retraining is the best schedule: there is nothing to regret")
    return (own - best) / (never - best)


def price(cost: float, predictions: int) -> float:
    """What one retraining costs in nats when one nat of one prediction costs 1.

    A pooled log loss is a mean over ``predictions``: ``cost`` of it is ``cost * predictions`` nats in all.
    """
    return cost * predictions


def interval(
    differences: Array, counts: NDArray[np.int64], blocks: NDArray[np.int64], repeats: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of the mean difference of two schedules, by resampling blocks of days (Künsch 1989).

    Paired: both are looked up on the same days, so only their difference is resampled.

    Args:
        differences: nats of one less those of the other by day, shape (days,).
        counts, blocks: as :class:`Losses` has them.
    """
    _, block = np.unique(blocks, return_inverse=True)
    sums, sizes = np.bincount(block, differences), np.bincount(block, counts.astype(np.float64))
    chosen = np.random.default_rng(seed).integers(0, len(sums), (repeats, len(sums)))
    low, high = np.quantile(sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """J of one policy less J of another, in nats, with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's width: a difference that is no larger can be chance."""
        return (self.high - self.low) / 2


def compare(
    seeds: Sequence[Losses], ours: Sequence[Schedule], theirs: Sequence[Schedule], cost: float, repeats: int = 2000
) -> Difference:
    """The difference of J, averaged over the seeds; the same blocks are drawn for both and for all seeds."""
    first = seeds[0]
    pairs = list(zip(seeds, ours, theirs, strict=True))
    days = np.mean([lost(one, a) - lost(one, b) for one, a, b in pairs], axis=0)
    paid = cost * float(np.mean([sum(a) - sum(b) for _, a, b in pairs]))
    low, high = interval(days, first.counts, first.blocks, repeats)
    return Difference(float(days.sum()) / first.predictions + paid, low + paid, high + paid)


def follow(
    policy: Policy, look: Callable[[int, int], Review], reviews: int, at_most: int | None = None
) -> tuple[Schedule, list[Verdict]]:
    """Put every review to a policy, in order.

    Args:
        look: the review of a number, from 1 on, while the model of a number is in force, as in :class:`Losses`.
        at_most: retrainings in all, after which the policy is not asked again.
    """
    schedule: list[bool] = []
    verdicts: list[Verdict] = []
    champion = 0
    for number in range(1, reviews + 1):
        if at_most is not None and sum(schedule) >= at_most:
            verdicts.append(Verdict("wait", f"{at_most} retrainings are made"))
        else:
            verdicts.append(policy.decide(look(number, champion)))
        schedule.append(verdicts[-1].action == "retrain")
        champion = number if schedule[-1] else champion
    return tuple(schedule), verdicts
