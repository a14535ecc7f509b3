"""What questions are made of: metrics and dimensions in people's words, and the dimensions' real values.

Words are declared beside the metrics and dimensions in the dbt project, under ``config.meta``; what has none is called
by its label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from assets.declared import Declared
from serving.errors import DeclarationError
from serving.semantics.catalogue import Catalogue

LANGUAGES = ("en", "ko")
Language = Literal["en", "ko"]
Words = TypeVar("Words", "MetricWords", "DimensionWords")


class MetricWords(Declared):
    """``config.meta`` of a metric."""

    words: dict[str, tuple[str, ...]] = Field(default={}, description="by language what people call it")
    better: Literal["higher", "lower"] | None = Field(default=None, description="which values are the better ones")


class DimensionWords(Declared):
    """``config.meta`` of a dimension."""

    words: dict[str, tuple[str | tuple[str, str], ...]] = Field(
        default={}, description="by language what people call it; with its plural where the language has one"
    )
    said: dict[str, tuple[str, ...]] = Field(
        default={}, description="by language how a value is said in a sentence, {value} in its place"
    )


@dataclass(frozen=True)
class Metric:
    name: str
    words: dict[str, tuple[str, ...]]
    better: str | None
    dimensions: tuple[str, ...]


@dataclass(frozen=True)
class Dimension:
    """A dimension in words.

    Attributes:
        words: by language (singular, plural).
        said: by language sentences' parts with ``{value}``.
        values: its values as the warehouse has them, or some of them.
    """

    name: str
    words: dict[str, tuple[tuple[str, str], ...]]
    said: dict[str, tuple[str, ...]]
    values: tuple[str | int, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Everything that a question can name.

    Attributes:
        first, last: days that the data has, both included.
    """

    metrics: dict[str, Metric]
    dimensions: dict[str, Dimension]
    first: date
    last: date


def vocabulary(catalogue: Catalogue, values: Mapping[str, Sequence[str | int]], first: date, last: date) -> Vocabulary:
    """The vocabulary of a catalogue.

    Args:
        values: of each dimension that is to be asked about, by its short name.

    Raises:
        DeclarationError: the words of a metric or dimension are not as they must be; it is named with its field.
    """
    dimensions: dict[str, Dimension] = {}
    metrics: dict[str, Metric] = {}
    for metric in catalogue.metrics.values():
        declared = _parsed(MetricWords, f"metric {metric.name}", metric.meta)
        known = {d.name: d for d in metric.dimensions.values() if d.name in values}
        words = {k: declared.words.get(k) or (metric.label[:1].lower() + metric.label[1:],) for k in LANGUAGES}
        metrics[metric.name] = Metric(metric.name, words, declared.better, tuple(sorted(known)))
        for name, dimension in known.items():
            if name not in dimensions:
                meta = _parsed(DimensionWords, f"dimension {dimension.qualified}", dimension.meta)
                dimensions[name] = _dimension(name, dimension.label, meta, values[name])
    return Vocabulary(metrics, dimensions, first, last)


def _dimension(name: str, label: str, declared: DimensionWords, values: Sequence[str | int]) -> Dimension:
    words: dict[str, tuple[tuple[str, str], ...]] = {}
    for language in LANGUAGES:
        given = declared.words.get(language) or (label.lower(),)
        plural = "s" if language == "en" else ""
        words[language] = tuple(w if isinstance(w, tuple) else (w, w + plural) for w in given)
    said = {language: tuple(declared.said.get(language, ())) for language in LANGUAGES}
    return Dimension(name, words, said, tuple(values))


def _parsed(kind: type[Words], where: str, meta: Mapping[str, Any]) -> Words:
    known = {name: meta[name] for name in kind.model_fields if name in meta}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise DeclarationError(
            f"dbt project, {where}: config.meta.{'.'.join(str(p) for p in first['loc'])}: {first['msg']}.",
            untouched="the training pairs.",
            todo="mend the words beside it.",
        ) from error
