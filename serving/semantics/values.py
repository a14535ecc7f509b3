"""Checks the values of a query's filters against those that their dimensions have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from serving.semantics.catalogue import Catalogue
from serving.semantics.query import Filter, MetricQuery, QueryError, Value, resolve

EXACT = ("=", "!=", "in", "not in")
Known = Callable[[tuple[str, ...], str], frozenset[Value] | None]


def checked(query: MetricQuery, catalogue: Catalogue, known: Known) -> MetricQuery:
    """The query with each value as its dimension spells it; values that are compared by size are left alone.

    Args:
        known: of metrics and a qualified dimension, the values that there are; None when they are too many to say.

    Raises:
        QueryError: a name is not known, or no such value is there; the nearest are named.
    """
    resolved = resolve(query, catalogue)
    where = []
    for item in query.where:
        values = known(query.metrics, resolved.dimensions[item.dimension].qualified) if item.op in EXACT else None
        where.append(item if values is None else _spelt(item, values))
    return query if tuple(where) == query.where else query.model_copy(update={"where": tuple(where)})


def mended(
    query: MetricQuery, catalogue: Catalogue, known: Known, question: str, named: Mapping[str, Sequence[str]]
) -> MetricQuery:
    """The query that a model wrote for a question, with slips in its filters set right.

    A value that another dimension has than the filter's is filtered by that one. A value that is miscopied, which the
    data does not have and the question does not say, stands for the one that is most like it, of those that the
    question names, its dimension has and no filter has yet.

    Args:
        named: values that the question names, as the data spells them, and the dimensions of each.

    Raises:
        QueryError: a name is not known.
    """
    resolved, said = resolve(query, catalogue), question.casefold()
    of_all = {name for metric in query.metrics for name in _dimensions(catalogue, metric)}
    used = {str(value) for item in query.where for value in item.values}
    where = []
    for item in query.where:
        values = known(query.metrics, resolved.dimensions[item.dimension].qualified) if item.op in EXACT else None
        if values is None:
            where.append(item)
            continue
        strangers = [str(value) for value in item.values if value not in values]
        others = [d for d in named.get(strangers[0], ()) if d in of_all] if strangers else []
        if len(strangers) == len(item.values) and others and all(others[0] in named.get(s, ()) for s in strangers):
            where.append(item.model_copy(update={"dimension": others[0]}))
            continue
        kept = list(item.values)
        for place, value in enumerate(kept):
            if value in values or str(value).casefold() in said:
                continue
            near = get_close_matches(str(value), [n for n in named if n in values and n not in used], n=1, cutoff=0.0)
            if near:
                kept[place] = near[0]
                used.add(near[0])
        where.append(item if kept == list(item.values) else item.model_copy(update={"values": tuple(kept)}))
    return query if tuple(where) == query.where else query.model_copy(update={"where": tuple(where)})


def _dimensions(catalogue: Catalogue, metric: str) -> set[str]:
    return {dimension.name for dimension in catalogue.metrics[metric].dimensions.values()}


def _spelt(item: Filter, known: frozenset[Value]) -> Filter:
    by_text = {str(value).casefold(): value for value in known}
    values = []
    for value in item.values:
        found = value if value in known else by_text.get(str(value).casefold())
        if found is None:
            near = get_close_matches(str(value).casefold(), by_text, n=3, cutoff=0.6)
            listed = " or ".join(str(by_text[name]) for name in near)
            few = ", ".join(sorted(map(str, known))[:20])
            raise QueryError(
                f"no {item.dimension} is {str(value)[:80]!r}",
                todo=f"did you mean {listed}?" if near else f"there is {few}{', …' if len(known) > 20 else ''}.",
            )
        values.append(found)
    return item if tuple(values) == item.values else item.model_copy(update={"values": tuple(values)})
