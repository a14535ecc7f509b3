"""What a source of documents declares: its files, who may read them, how they are cut, and how a table is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from assets.declared import Declared, fingerprint, read_folder
from assets.knowledge.documents.template import Template, TemplateError
from assets.knowledge.documents.wildcard import matches
from serving.retrieval.access import LABEL

FOLDER = "documents"
OWN = "own"  # the source of what the project says of itself


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"a regular expression: {error}") from error
    return value


def _labels(value: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [label for label in value if not LABEL.match(label)]
    if wrong:
        raise ValueError(f"labels of lower-case letters, digits, '_' or '-', at most 32; not {', '.join(wrong)}")
    return value


class Cut(Declared):
    """How a document is cut into passages; sizes in tokens of the embedding's tokenizer."""

    size: int = Field(default=200, ge=16, le=2000)
    overlap: int = Field(default=30, ge=0)
    max_passages: int = Field(default=2000, ge=1, description="of one document; one with more is refused")

    @model_validator(mode="after")
    def _smaller(self) -> Cut:
        if self.overlap >= self.size:
            raise ValueError(f"overlap: below size ({self.size})")
        return self


class Entity(Declared):
    """Columns' values that name things of the graph.

    A value is split, then replaced, turned to upper case, and dropped unless it matches ``keep`` as a whole.
    """

    kind: str = Field(pattern=r"^[A-Z][A-Za-z0-9]*$", description="class of the ontology")
    column: str
    split: str | None = Field(default=None, description="regular expression between two values of one cell")
    replace: dict[str, str] = Field(default_factory=dict, description="regular expression: replacement, in order")
    upper: bool = False
    keep: str | None = Field(default=None, description="regular expression of a value that names something")

    @field_validator("split", "keep")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        return value if value is None else _regex(value)

    @field_validator("replace")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern, replacement in value.items():
            try:
                re.sub(_regex(pattern), replacement, "")
                re.compile(pattern).sub(replacement, "x")
            except (re.error, IndexError) as error:
                raise ValueError(f"a replacement for {pattern!r}: {error}") from error
        return value


class DateColumn(Declared):
    """The column that dates a row; it becomes an ISO 8601 day, in metadata and in templates."""

    column: str
    format: str = Field(default="%Y-%m-%d", description="of strptime")
    zone: str | None = Field(default=None, description="IANA zone whose day is meant, when the column is an instant")
    name: str = Field(default="date", pattern=r"^[a-z][a-z0-9_]*$")

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(value or "UTC")
        except Exception as error:
            raise ValueError("an IANA time zone such as Asia/Seoul") from error
        return value


class MetadataColumn(Declared):
    """A column that is kept with the document as a typed value; an empty cell is left out."""

    column: str
    type: Literal["string", "integer", "number", "boolean"] = "string"


class Table(Declared):
    """How the rows of a CSV become documents, one each.

    Templates name columns in braces. A part in double brackets is left out of a row in which one of its columns is
    empty: ``[[Cause: {cause}]]``.
    """

    columns: tuple[str, ...] = Field(min_length=1, description="that a header must have; further ones are not read")
    key: tuple[str, ...] = Field(min_length=1)
    title: str
    text: tuple[str, ...] = Field(min_length=1, description="templates, one a paragraph")
    empty: tuple[str, ...] = Field(default=("",), description="cells that say nothing, in any column")
    values: dict[str, dict[str, str]] = Field(default_factory=dict, description="column: code: word for templates")
    date: DateColumn | None = None
    metadata: dict[str, MetadataColumn] = Field(default_factory=dict)
    entities: tuple[Entity, ...] = ()
    labels_column: str | None = Field(default=None, description="labels of the row, divided by commas or spaces")
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @model_validator(mode="after")
    def _known(self) -> Table:
        unknown = sorted({f"{column} ({where})" for where, column in self._used() if column not in self.columns})
        if unknown:
            raise ValueError(f"not declared under columns: {', '.join(unknown)}")
        twice = sorted({column for column in self.columns if self.columns.count(column) > 1})
        if twice:
            raise ValueError(f"columns: named twice: {', '.join(twice)}")
        if self.date and self.date.name in self.metadata:
            raise ValueError(f"metadata: {self.date.name} is the date's")
        return self

    def _used(self) -> Iterator[tuple[str, str]]:
        yield from (("key", column) for column in self.key)
        for name, template in (("title", self.title), *((f"text[{i}]", t) for i, t in enumerate(self.text))):
            try:
                yield from ((name, column) for column in Template(template).columns)
            except TemplateError as error:
                raise ValueError(f"{name}: {error}") from error
        yield from (("values", column) for column in self.values)
        yield from ((f"entities[{i}]", entity.column) for i, entity in enumerate(self.entities))
        yield from ((f"metadata.{name}", field.column) for name, field in self.metadata.items())
        if self.date:
            yield "date", self.date.column
        if self.labels_column:
            yield "labels_column", self.labels_column


class DocumentSource(Declared):
    """One source of documents: files below ``landing/documents/<name>/``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str = ""
    description: str
    owner: str | None = None
    kind: str = Field(default="document", pattern=r"^[a-z][a-z0-9_]*$", description="what one of its documents is")
    files: tuple[str, ...] = Field(default=("**/*",), min_length=1, description="`**` stands for any folders")
    labels: tuple[str, ...] = Field(default=(), description="that a reader of any of its documents holds")
    labels_by: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="further labels of the files that a pattern matches"
    )
    chunk: Cut = Cut()
    table: Table | None = None

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value == OWN:
            raise ValueError("another name: it is that of the project's own documents")
        return value

    @field_validator("labels")
    @classmethod
    def _well_formed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _labels(value)

    @field_validator("labels_by")
    @classmethod
    def _well_formed_by(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {pattern: _labels(labels) for pattern, labels in value.items()}

    def takes(self, path: str) -> bool:
        """Whether a file, by its path below the source's folder, is one of the declared."""
        return any(matches(pattern, path) for pattern in self.files)

    def labels_of(self, path: str) -> tuple[str, ...]:
        """The labels of a file: those of the source and of every pattern that it matches."""
        more = (labels for pattern, labels in self.labels_by.items() if matches(pattern, path))
        return tuple(sorted({*self.labels, *(label for labels in more for label in labels)}))

    def fingerprint(self) -> str:
        """Hash of what makes a document of a file (hex, 16 characters): which files, and whose, makes none another."""
        how = {"name", "kind", "chunk", "table"}
        return fingerprint(self.model_dump(mode="json", include=how))


def document_sources(domain: Path) -> dict[str, DocumentSource]:
    """The sources of documents that a domain declares in ``documents/*.yaml``, by name; none without such a folder.

    Raises:
        DeclarationError: a file does not match; it and every wrong field are named.
    """
    return read_folder(domain / FOLDER, DocumentSource)
