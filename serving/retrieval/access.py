"""Labels of access: what an element asks of its reader, and what a caller holds.

An element has a set of labels and is visible to who holds all of them, so what is made from several elements has the
union of theirs. The set is written as one string, the element's *access*, which every store keeps beside the element
and filters by: ``""`` is visible to every caller, ``"finance|safety"`` to who holds both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from serving.errors import ClearwayError

EVERYTHING = "*"
LABEL = re.compile(r"^[a-z0-9][a-z0-9_-]{0,31}$")
SEPARATOR = "|"


def joined(labels: Iterable[str]) -> str:
    """The access of an element with ``labels``: each once, sorted.

    Raises:
        ClearwayError: a label is malformed.
    """
    distinct = sorted(set(labels))
    wrong = [label for label in distinct if not LABEL.match(label)]
    if wrong:
        raise ClearwayError(
            f"labels {wrong}: expected lower-case letters, digits, '_' or '-', at most 32",
            untouched="whatever was to get them.",
        )
    return SEPARATOR.join(distinct)


def split(access: str) -> frozenset[str]:
    """The labels of an access."""
    return frozenset(access.split(SEPARATOR)) if access else frozenset()


def union(*accesses: str) -> str:
    """The access of what is made from elements with ``accesses``."""
    return SEPARATOR.join(sorted(frozenset().union(*(split(access) for access in accesses))))


def visible(access: str, labels: frozenset[str]) -> bool:
    """Whether a caller who holds ``labels`` may see an element."""
    return EVERYTHING in labels or split(access) <= labels


def seen(accesses: Iterable[str], labels: frozenset[str]) -> frozenset[str]:
    """Those of ``accesses`` that a caller may see: what stores are asked to filter by."""
    return frozenset(access for access in accesses if visible(access, labels))
