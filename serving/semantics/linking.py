"""Finds in a question the metrics, dimensions and values that it names, so that nobody guesses what a code means.

Known as schema and value linking in text-to-SQL (Lei et al., EMNLP 2020; Wang et al., RAT-SQL, ACL 2020).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError
from serving.semantics import korean
from serving.semantics.catalogue import Catalogue

if TYPE_CHECKING:
    from serving.semantics.engine import MetricEngine

LONGEST = 12  # words of a name
MOST = 12  # names that are told of one question
NONE = "-"
# Latin letters and digits: in Korean a particle follows a value without a blank.
_WORD = re.compile(r"[A-Za-z0-9]+")
# In small letters these are words, not codes.
_WORDS = frozenset(
    word
    for line in (
        "a an and are as at be but by can do for from go had has he how i if in is it its me my no not of off on one",
        "or our out per she so than that the then this to top two up us was we what who why with you all any day may",
        "new see",
    )
    for word in line.split()
)


class Linker:
    """Knows what metrics, dimensions and values are called.

    Args:
        names: by what people say, the metrics and dimensions that it may mean.
        values: by dimension; numbers among them are told only where they stand as ``said`` has it, for a question holds
            numbers for many reasons.
        said: by dimension, how a value of it is said: text with ``{value}``.
        metrics: which of the names are metrics.
    """

    def __init__(
        self,
        names: Mapping[str, Iterable[str]],
        values: Mapping[str, Iterable[Any]],
        said: Mapping[str, Iterable[str]] | None = None,
        metrics: Iterable[str] = (),
    ) -> None:
        self._metrics = frozenset(metrics)
        self._numbers: list[tuple[str, re.Pattern[str], frozenset[str]]] = []
        for dimension, templates in sorted((said or {}).items()):
            numbers = frozenset(str(v) for v in values.get(dimension, ()) if isinstance(v, int) and v is not True)
            for before, _, after in (template.partition("{value}") for template in templates if numbers):
                found = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}", re.IGNORECASE)
                self._numbers.append((dimension, found, numbers))
        self._values: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for dimension, each in sorted(values.items()):
            for value in each:
                words = tuple(_WORD.findall(value.casefold())) if isinstance(value, str) else ()
                if words and len(words) <= LONGEST and not all(word.isdigit() for word in words):
                    self._values.setdefault(words, {}).setdefault(value, []).append(dimension)
        self._names: dict[tuple[str, ...], str] = {}
        self._others: dict[str, str] = {}  # not in Latin letters: found wherever they stand
        for word, meant in names.items():
            told = ", ".join(sorted(set(meant)))
            if word.isascii():
                self._names[tuple(_WORD.findall(word.casefold()))] = told
            elif word.strip():
                self._others[word] = told
        longest = sorted(self._others, key=lambda word: (-len(word), word))
        self._other = re.compile("|".join(map(re.escape, longest))) if longest else None

    def __call__(self, question: str) -> str:
        """What is named, in its order, with ``; `` between: a metric, a dimension, ``value: dimension, dimension``.

        Of a question in Korean also what it says of time, order and conditions, such as ``since August: period``.
        """
        found = [*self._latin(question), *korean.told(question)]
        if self._other is not None:
            found += [(match.start(), self._others[match.group()]) for match in self._other.finditer(question)]
        for dimension, phrase, numbers in self._numbers:
            for match in phrase.finditer(question):
                if match.group(1) in numbers:
                    found.append((match.start(1), f"{match.group(1)}: {dimension}"))
        told = dict.fromkeys(text for _, text in sorted(found))
        return "; ".join(list(told)[:MOST]) or NONE

    def values(self, question: str) -> dict[str, list[str]]:
        """The values that are named, as they are spelt in the data, and the dimensions of each."""
        found = (text.rpartition(": ") for _, text in self._latin(question) if ": " in text)
        return {value: dimensions.split(", ") for value, _, dimensions in found}

    def metrics(self, question: str) -> list[str]:
        """The metrics that are named, without those of which several may be meant."""
        return [text for text in self(question).split("; ") if text in self._metrics]

    def _latin(self, question: str) -> Iterator[tuple[int, str]]:
        found, start = list(_WORD.finditer(question)), 0
        while start < len(found):
            for end in range(min(len(found), start + LONGEST), start, -1):
                words = tuple(word.group().casefold() for word in found[start:end])
                at = found[start].start()
                if words in self._names:
                    yield at, self._names[words]
                elif words in self._values and question[at : found[end - 1].end()] not in _WORDS:
                    for value, dimensions in self._values[words].items():
                        yield at, f"{value}: {', '.join(dimensions)}"
                else:
                    continue
                start = end
                break
            else:
                start += 1


def linker(engine: MetricEngine) -> Linker:
    """The linker of what an engine answers now.

    Raises:
        ClearwayError: the manifest cannot be read.
    """
    catalogue = engine.catalogue()
    return Linker(names_of(catalogue), all_values(engine), said_of(catalogue), catalogue.metrics)


def said_of(catalogue: Catalogue) -> dict[str, list[str]]:
    """How the values of a dimension are said, in every language, as it is declared beside it."""
    return {
        dimension.name: [str(each) for of_language in said.values() for each in of_language]
        for metric in catalogue.metrics.values()
        for dimension in metric.dimensions.values()
        if isinstance(said := dimension.meta.get("said"), dict)
    }


def names_of(catalogue: Catalogue) -> dict[str, list[str]]:
    """What metrics and dimensions are called, in every language: by the words declared beside them, label and name."""
    found: dict[str, list[str]] = {}
    for metric in catalogue.metrics.values():
        for word in (metric.name.replace("_", " "), metric.label.lower(), *_declared(metric.meta)):
            found.setdefault(word, []).append(metric.name)
        for dimension in metric.dimensions.values():
            for word in (dimension.name.replace("_", " "), *_declared(dimension.meta)):
                found.setdefault(word, []).append(dimension.name)
            if not _declared(dimension.meta):
                for word in (dimension.label.lower(), f"{dimension.label.lower()}s"):
                    found.setdefault(word, []).append(dimension.name)
    return found


def _declared(meta: Mapping[str, Any]) -> list[str]:
    words = meta.get("words")
    each = [word for of_language in words.values() for word in of_language] if isinstance(words, dict) else []
    return [str(word) for item in each for word in (item if isinstance(item, list | tuple) else (item,))]


def all_values(engine: MetricEngine) -> dict[str, list[str | int]]:
    """The values of every dimension, by its short name; without those of ids, and of marts that are not built.

    Raises:
        ClearwayError: the manifest cannot be read.
    """
    found: dict[str, list[str | int]] = {}
    for metric in engine.catalogue().metrics.values():
        for dimension in metric.dimensions.values():
            if metric.accumulates or found.get(dimension.name):
                continue
            try:
                values = engine.values((metric.name,), dimension.qualified) or ()
            except ClearwayError:
                continue
            found[dimension.name] = sorted((v for v in values if isinstance(v, str | int)), key=str)
    return found
