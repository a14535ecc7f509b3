"""An alarm at a declared number of false ones a year: a Shiryaev-Roberts e-detector on blocks of days.

Each day brings a number, such as how much worse the champion was than it should be. A gambler bets, block by block,
that its mean is above the tolerance; if it is not, their wealth does not grow on average, whatever the distribution. A
new gambler enters with 1 every ``restart_blocks`` blocks. The alarm is raised when all of them together have one more
than ``365 / (false_alarms * days from entry to entry)``. Under the null hypothesis, that the mean of a block given the
past is at most the tolerance, all of them have on average what they came with, so that it takes at least that many
entries on average until an alarm, of which the first costs no time (Shin, Ramdas and Rinaldo, *E-detectors*, arXiv
2203.03532; bets as Waudby-Smith and Ramdas, arXiv 2010.09686; for deployed models Podkopaev and Ramdas, ICLR 2022).

Why blocks: the days of a week hang together, and bets on single days take their common luck for evidence. At the
null's boundary, declared 1 a year, with days alike within each week, they raise about 2 (simulated); bets on weeks
0.95. On independent days weeks find harm about as fast. A model well within the tolerance is still alarmed about every
second year: nobody loses much by small bets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DAYS_A_YEAR = 365.0
BETS = (0.1, 0.2, 0.4, 0.8)  # shares of the largest bet that cannot lose all


@dataclass(frozen=True)
class Null:
    """What a healthy model keeps to: the mean is at most ``tolerance``; a block's counts within ``clip``.

    ``two_sided`` also bets that the mean is below minus the tolerance.
    """

    name: str
    tolerance: float
    clip: float
    two_sided: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < self.clip:
            raise ValueError(f"{self.name}: expected 0 <= tolerance < clip, found {self.tolerance} and {self.clip}")


@dataclass
class Alarm:
    """Watches one or more nulls, whose wealth is averaged: one rate of false alarms for all of them.

    Args:
        false_alarms: a year, while all nulls hold.
        block_days: days whose mean is one bet; 1 for those who know that their days are independent.
        restart_blocks: a gambler enters this often; late changes are found by one who has lost nothing yet.
    """

    nulls: tuple[Null, ...]
    false_alarms: float = 1.0
    block_days: int = 7
    restart_blocks: int = 4
    days: int = field(default=0, init=False)
    wealth: NDArray[np.float64] = field(init=False)
    block: dict[str, list[float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not self.nulls or self.false_alarms <= 0 or self.block_days < 1 or self.restart_blocks < 1:
            raise ValueError("expected at least one null, a positive number of false alarms, of days and of blocks")
        self.reset()

    @property
    def threshold(self) -> float:
        """The wealth at which the alarm is raised."""
        return DAYS_A_YEAR / (self.false_alarms * self.block_days * self.restart_blocks) + 1

    @property
    def evidence(self) -> float:
        """The wealth of all gamblers, averaged over nulls, sides and bets."""
        return float(np.mean([self.wealth[i, : self._sides(null)].mean() for i, null in enumerate(self.nulls)]))

    @property
    def raised(self) -> bool:
        return self.evidence >= self.threshold

    @staticmethod
    def _sides(null: Null) -> int:
        return 2 if null.two_sided else 1

    def look(self, day: dict[str, float]) -> bool:
        """Take one day's numbers, by the null's name, where it has one; whether the alarm is raised."""
        if self.days % (self.block_days * self.restart_blocks) == 0:
            self.wealth = self.wealth + 1
        self.days += 1
        for name, value in day.items():
            self.block.setdefault(name, []).append(value)
        if self.days % self.block_days == 0:
            self._bet({name: float(np.mean(values)) for name, values in self.block.items()})
            self.block = {}
        return self.raised

    def _bet(self, means: dict[str, float]) -> None:
        for i, null in enumerate(self.nulls):
            if null.name not in means:
                continue
            value = min(max(means[null.name], -null.clip), null.clip)
            largest = 1 / (null.clip + null.tolerance)
            for side, sign in enumerate((1.0, -1.0)[: self._sides(null)]):
                self.wealth[i, side] *= 1 + np.array(BETS) * largest * (sign * value - null.tolerance)

    def reset(self) -> None:
        """Begin anew, once somebody has looked at an alarm."""
        self.wealth, self.days, self.block = np.zeros((len(self.nulls), 2, len(BETS))), 0, {}
