"""Stretches of time as people say them, and the periods that they mean."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from serving.semantics.period import MONTHS

# The more often a kind is asked for, the more often it stands here.
KINDS = (
    *["month"] * 5, *["month_year"] * 2, "quarter", "quarter_year", *["year"] * 2, *["months"] * 2, "day", "day_year",
    "days", *["since"] * 2, "before", "through", *["last_days"] * 2, "last", "this",
)  # fmt: skip
GRAINS = ("week", "month", "quarter", "year")
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class Stretch:
    """A stretch of time.

    Attributes:
        kind: key of the phrases that say it.
        period: as a query has it.
        slots: what its phrases are filled with.
    """

    kind: str
    period: str
    slots: dict[str, Any] = field(default_factory=dict)


def any_stretch(chance: random.Random, today: date, names: Mapping[str, Sequence[str]]) -> Stretch:
    """A stretch that somebody may ask for.

    Args:
        today: the newest day there is.
        names: by slot (``months``, ``ordinals``) the words of a language.
    """
    kind, words = chance.choice(KINDS), names["months"]
    if kind == "last_days":
        n = chance.choice([3, 5, 7, 10, 14, 21, 28, 30, 45, 60, 90])
        return Stretch(kind, f"last {n} days", {"n": n})
    if kind in ("last", "this"):
        grain = chance.choice(GRAINS)
        return Stretch(f"{kind}_{grain}", f"{kind} {grain}")
    year = today.year - chance.choice([0, 0, 0, 1, 1, 2, chance.randrange(3, 30)])
    month, month2 = chance.sample(range(12), 2)
    day, day2 = chance.randrange(LENGTHS[month]) + 1, chance.randrange(LENGTHS[month2]) + 1
    if kind == "days" and chance.random() < 0.5:
        month2, (day, day2) = month, sorted(chance.sample(range(1, LENGTHS[month] + 1), 2))
    quarter = month // 3 + 1
    slots: dict[str, Any] = {
        "year": year, "month": words[month], "month2": words[month2], "day": day, "day2": day2, "quarter": quarter,
        "ordinal": names["ordinals"][quarter - 1],
    }  # fmt: skip
    point = {"quarter": f"Q{quarter}", "year": str(year), "day": f"{MONTHS[month]} {day}"}.get(
        kind.removesuffix("_year"), MONTHS[month]
    )
    period = {
        "months": f"{point} to {MONTHS[month2]}",
        "days": f"{point} {day} to {MONTHS[month2]} {day2}",
        **{open_end: f"{open_end} {point}" for open_end in ("since", "before", "through")},
    }.get(kind, f"{point} {year}" if kind.endswith("_year") else point)
    return Stretch(kind, period, slots)
