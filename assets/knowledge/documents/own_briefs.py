"""Monthly briefs: each metric's value, its change against the month before, and the best and worst members by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import isclose
from typing import TYPE_CHECKING

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.own_documents import BRIEF, Labels, month, number, own
from assets.knowledge.platform import METRIC, TABLE

if TYPE_CHECKING:
    from assets.knowledge.documents.own_values import MonthlyValues
    from serving.semantics.catalogue import Catalogue, Metric

NAMED = 3
# Of the table's rows of a month; the extremes of fewer say little.
SMALL_SHARE = 0.005
PREFIXES = ("fct_", "fact_", "mart_")


def briefs(values: Sequence[MonthlyValues], catalogue: Catalogue, labels: Labels | None = None) -> list[Document]:
    """One document a table and month.

    Args:
        values: of the published warehouse; a metric that the catalogue no longer has is left out.
    """
    return [
        _brief(group, day, catalogue, labels)
        for group in values
        for day in sorted({day for by_month in group.totals.values() for day in by_month})
    ]


def _brief(group: MonthlyValues, day: date, catalogue: Catalogue, labels: Labels | None) -> Document:
    subject = group.table
    for prefix in PREFIXES:
        subject = subject.removeprefix(prefix)
    subject = subject.replace("_", " ")
    metrics = [catalogue.metrics[n] for n, by in group.totals.items() if n in catalogue.metrics and day in by]
    sections = {"": _summary(group, day, metrics, subject)}
    for metric in metrics:
        sections[metric.label] = f"{_change(group, day, metric)}{_members(group, day, metric)}"
    return own(
        BRIEF,
        f"{group.table}-{day:%Y-%m}",
        f"Operations brief on {subject}, {month(day)}",
        sections,
        [*((METRIC, metric.name) for metric in metrics), (TABLE, group.table)],
        labels,
        {"date": day.isoformat(), "table": group.table},
    )


def _summary(group: MonthlyValues, day: date, metrics: Sequence[Metric], subject: str) -> str:
    moved = [metric for metric in metrics if _before(day) in group.totals[metric.name]]
    said: dict[str, list[str]] = {"better": [], "worse": []}
    for metric in moved:
        verdict = _verdict(group, metric, group.totals[metric.name][day] - group.totals[metric.name][_before(day)])
        if verdict:
            said[verdict].append(metric.label)
    text = f"What {len(metrics)} metrics of {subject} came to in {month(day)}."
    for verdict, names in said.items():
        text += f" {verdict.capitalize()} than in {month(_before(day))}: {', '.join(names)}." if names else ""
    return text


def _change(group: MonthlyValues, day: date, metric: Metric) -> str:
    value, before = group.totals[metric.name][day], group.totals[metric.name].get(_before(day))
    text = f"{metric.label} in {month(day)}: {number(value)}"
    if before is None:
        return f"{text}. There is no month before it."
    difference = value - before
    text += f", against {number(before)} in {month(_before(day))}: "
    if number(value) == number(before):
        return f"{text}unchanged."
    share = f" ({abs(difference / before):.1%})" if before else ""
    verdict = _verdict(group, metric, difference)
    side = "higher" if difference > 0 else "lower"
    return f"{text}{number(abs(difference))}{share} {side}{f', which is {verdict}' if verdict else ''}."


def _members(group: MonthlyValues, day: date, metric: Metric) -> str:
    """The extremes of the main dimension; nothing when too few members are large enough to be compared."""
    found = _large(group, day, group.members.get(metric.name, {}).get(day, {}))
    if group.dimension is None or len(found) < 2:
        return ""
    better = _better(group, metric)
    first, last = ("best", "worst") if better else ("highest", "lowest")
    ranked = sorted(found.items(), key=lambda item: ((item[1] if better == "lower" else -item[1]), item[0]))
    named = min(NAMED, len(ranked) // 2)
    top, bottom = ranked[:named], ranked[::-1][:named]
    by = group.dimension.lower()
    return f" By {by}, {first}: {_listed(top)}; {last}: {_listed(bottom)}."


def _large(group: MonthlyValues, day: date, found: Mapping[str, float]) -> Mapping[str, float]:
    """The members that have enough of the month's rows."""
    if group.base is None:
        return found
    sizes = group.members.get(group.base, {}).get(day, {})
    least = SMALL_SHARE * sum(sizes.values())
    return {member: value for member, value in found.items() if sizes.get(member, 0) >= least}


def _listed(members: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in members)


def _better(group: MonthlyValues, metric: Metric) -> str | None:
    """Which values are better; None of a sum, which is large or small with the size of a month or a member."""
    better = metric.meta.get("better")
    return str(better) if better in ("higher", "lower") and not _is_sum(group, metric.name) else None


def _is_sum(group: MonthlyValues, name: str) -> bool:
    """Whether the months' values are those of their members together."""
    by_month = group.members.get(name)
    return bool(by_month) and all(
        isclose(sum(found.values()), group.totals[name][day], rel_tol=1e-6, abs_tol=1e-9)
        for day, found in (by_month or {}).items()
        if day in group.totals[name]
    )


def _verdict(group: MonthlyValues, metric: Metric, difference: float) -> str | None:
    better = _better(group, metric)
    if better is None or not difference:
        return None
    return "better" if (difference > 0) == (better == "higher") else "worse"


def _before(day: date) -> date:
    return (day - timedelta(days=1)).replace(day=1)
