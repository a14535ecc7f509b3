"""What the makers of the project's own documents share: how one is made, and how values are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from assets.knowledge.documents.document import Document, document, document_uid
from assets.knowledge.documents.parsed import Section
from assets.knowledge.documents.spec import OWN
from assets.knowledge.platform import SOURCE, VERSION
from serving.retrieval.elements import Scalar

Labels = Mapping[str, tuple[str, ...]]
CONTRACT, DEFINITION, CARD, DECISION, BRIEF = "contract", "metric", "model_card", "decision", "brief"


def own(
    kind: str,
    name: str,
    title: str,
    sections: Mapping[str, str],
    links: Iterable[tuple[str, str]],
    labels: Labels | None,
    metadata: Mapping[str, Scalar] | None = None,
    file: str = "",
) -> Document:
    """A document of the project's own; sections by heading, of which the first may be empty."""
    return document(
        document_uid(OWN, kind, name),
        OWN,
        title,
        kind,
        [Section((heading,) if heading else (), text) for heading, text in sections.items() if text.strip()],
        labels=(labels or {}).get(kind, ()),
        metadata=metadata,
        links=links,
        file=file,
    )


def source_link(name: str) -> tuple[str, str]:
    """The link to a source, by the id that it has in the graph."""
    return SOURCE, f"source.{name}"


def version_link(model: str, version: str) -> tuple[str, str]:
    """The link to a version, by the id that it has in the graph."""
    return VERSION, f"{model}.{version}"


def lines(items: Iterable[str]) -> str:
    """A list, one item a line."""
    return "\n".join(f"- {item}" for item in items)


def number(value: float) -> str:
    """Four significant digits; whole from a thousand on, with commas."""
    if isinstance(value, int) or float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def told(value: Any) -> str:
    """A plain value in words: a mapping as ``name value``, a list by commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {told(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(told(each) for each in value)
    return str(value)


def month(day: date) -> str:
    """A month's name and year, whatever the locale."""
    return f"{MONTHS[day.month - 1]} {day.year}"


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
