"""Templates over a row: ``{column}`` is its value, ``[[...]]`` is left out when a column in it is empty."""

from __future__ import annotations

import re
from collections.abc import Mapping

PART = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
COLUMN = re.compile(r"\{([^{}]+)\}")
SPACES = re.compile(r"[ \t]+")
BEFORE_MARK = re.compile(r"\s+([,.;:])")
TWO_STOPS = re.compile(r"(?<!\.)\.\.(?!\.)")  # of a cell that brings its own


class TemplateError(ValueError):
    """A template's brackets or braces do not match."""


class Template:
    """One template, checked once.

    >>> Template("Pump {id}[[ of {site}]]").fill({"id": "P1", "site": ""})
    'Pump P1'

    Raises:
        TemplateError: brackets or braces do not match.
    """

    def __init__(self, text: str) -> None:
        self.columns = tuple(dict.fromkeys(COLUMN.findall(text)))
        bare = COLUMN.sub("", PART.sub(r"\1", text))
        if any(mark in bare for mark in ("{", "}", "[[", "]]")):
            raise TemplateError(f"brackets or braces that do not match in {text!r}")
        self._parts: list[tuple[str, tuple[str, ...]]] = []  # text, and the columns that it needs
        for index, part in enumerate(PART.split(text)):
            self._parts.append((part, tuple(COLUMN.findall(part)) if index % 2 else ()))

    def fill(self, row: Mapping[str, str]) -> str:
        """The text for a row, whose cells are used as they are: what is written in one is not read as a template."""
        kept = [text for text, needed in self._parts if all(row[column] for column in needed)]
        filled = COLUMN.sub(lambda found: row[found.group(1)], "".join(kept))
        return TWO_STOPS.sub(".", BEFORE_MARK.sub(r"\1", SPACES.sub(" ", filled))).strip()
