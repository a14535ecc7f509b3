"""Patterns of paths in which ``**`` stands for any folders, also none, and ``*`` and ``?`` stay within a name."""

from __future__ import annotations

import re
from functools import lru_cache

PARTS = re.compile(r"\*\*/|\*\*|\*|\?")
MEANS = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts, position = [], 0
    for found in PARTS.finditer(pattern):
        parts += [re.escape(pattern[position : found.start()]), MEANS[found.group()]]
        position = found.end()
    return re.compile("".join([*parts, re.escape(pattern[position:])]), re.IGNORECASE | re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    """Whether a relative POSIX path matches; upper and lower case are the same, as people who drop files expect."""
    return _compiled(pattern).fullmatch(path) is not None
