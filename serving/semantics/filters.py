"""Filter values become SQL that is data and nothing else.

A filter passes through two languages, MetricFlow's Jinja and then SQL. A character that means something to either is
written as its code point, so that no value can end its own literal.
"""

from __future__ import annotations

import math
import re
from datetime import date

from serving.semantics.catalogue import Dimension
from serving.semantics.query import TIME, Filter, QueryError, Value

_UNSAFE = re.compile(r"[^A-Za-z0-9 _.,:;/+@-]")


def condition(item: Filter, dimension: Dimension) -> str:
    """A filter in MetricFlow's form.

    Args:
        item: the filter.
        dimension: what its name was resolved to; its qualified name comes from the catalogue, never from the caller.

    Raises:
        QueryError: a value cannot be written, such as not-a-number.
    """
    subject = f"{{{{ Dimension('{dimension.qualified}') }}}}"
    if item.op in ("is null", "is not null"):
        return f"{subject} {item.op.upper()}"
    literals = [_literal(value) for value in item.values]
    if item.op in ("in", "not in"):
        return f"{subject} {item.op.upper()} ({', '.join(literals)})"
    return f"{subject} {'<>' if item.op == '!=' else item.op} {literals[0]}"


def within(since: date | None, until: date | None) -> list[str]:
    """The days of [since, until) as filters of rows; an open end filters nothing."""
    day = f"{{{{ TimeDimension('{TIME}', 'day') }}}}"
    return [f"{day} {op} {_literal(bound)}" for op, bound in ((">=", since), ("<", until)) if bound]


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise QueryError(f"a filter cannot compare with {value}", todo="use a finite number.")
        return repr(value)
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return _text(value)


def _text(value: str) -> str:
    """A string literal; what is not plainly harmless is joined in by code point."""
    if "\0" in value or any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise QueryError("a filter value holds a character that no text can hold", todo="remove it.")
    parts: list[str] = []
    position = 0
    for match in _UNSAFE.finditer(value):
        if match.start() > position:
            parts.append(f"'{value[position : match.start()]}'")
        parts.append(f"chr({ord(match.group())})")
        position = match.end()
    if position < len(value) or not parts:
        parts.append(f"'{value[position:]}'")
    return parts[0] if len(parts) == 1 else f"({' || '.join(parts)})"
