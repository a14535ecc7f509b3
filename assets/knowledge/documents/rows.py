"""A CSV by its declared mapping: a document a row, and by line what is none. Read = documents + quarantined."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from zoneinfo import ZoneInfo

from assets.knowledge.documents.document import Document, document, document_uid
from assets.knowledge.documents.parsed import Section
from assets.knowledge.documents.spec import DateColumn, DocumentSource, Entity, MetadataColumn, Table
from assets.knowledge.documents.template import Template
from assets.knowledge.documents.text import decode
from serving.errors import ClearwayError
from serving.retrieval.access import LABEL
from serving.retrieval.elements import Scalar

TRUE, FALSE = {"true", "yes", "y", "1"}, {"false", "no", "n", "0"}
MAX_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that is no document: the line that it begins on (the header is line 1), and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What a table came to; ``read`` rows are documents or quarantined."""

    read: int
    documents: tuple[Document, ...]
    quarantined: tuple[Quarantined, ...]
    notes: tuple[str, ...]


def read_rows(source: DocumentSource, table: Table, path: str, content: bytes) -> Rows:
    """The documents of a CSV file.

    Args:
        path: below the source's folder, for its labels and for messages.

    Raises:
        ClearwayError: it is no CSV, or a declared column is missing; missing and unexpected columns are named.
    """
    where = f"{source.name}/{path}"
    text, notes = decode(content, where)
    found: list[Document] = []
    bad: list[Quarantined] = []
    lines: dict[tuple[str, ...], int] = {}
    reader = _Rows(source, table, path)
    for line, cells, columns in _records(text, table, where, notes):
        try:
            row = _row(cells, columns, table)
            key = tuple(row[column] for column in table.key)
            if not all(key):
                raise ValueError(f"key {', '.join(table.key)}: expected a value, found none")
            if key in lines:
                raise ValueError(f"key {'/'.join(key)}: repeats line {lines[key]}")
            made, remarks = reader.document(row, key)
        except ValueError as error:
            bad.append(Quarantined(line, str(error)))
            continue
        lines[key] = line
        found.append(made)
        notes += [f"{where}, line {line}: {remark}" for remark in remarks]
    return Rows(len(found) + len(bad), tuple(found), tuple(bad), tuple(notes))


def _records(
    text: str, table: Table, where: str, notes: list[str]
) -> Iterator[tuple[int, list[str], Mapping[str, int]]]:
    """Line, cells, and the places of the columns, of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=table.delimiter, strict=True)
    columns: dict[str, int] | None = None
    line = read = 0
    try:
        for cells in reader:
            begins, line = line + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _header(cells, table, where, notes)
                continue
            read += 1
            if read > MAX_ROWS:
                raise _refused(where, f"more than {MAX_ROWS:,} rows", "split the file.")
            yield begins, cells, columns
    except csv.Error as error:
        raise _refused(where, f"line {line + 1} is no CSV: {error}", "mend the line; nothing was taken.") from error
    if columns is None:
        raise _refused(where, "it has no header", f"expected the columns {', '.join(table.columns)}.")


def _header(cells: list[str], table: Table, where: str, notes: list[str]) -> dict[str, int]:
    names = [cell.strip() for cell in cells]
    missing = [column for column in table.columns if column not in names]
    unexpected = [name for name in names if name not in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1 and name in table.columns})
    if missing or twice:
        raise _refused(
            where,
            f"its header is not the declared one: missing {', '.join(missing) or 'none'}; "
            f"unexpected {', '.join(unexpected) or 'none'}" + (f"; twice {', '.join(twice)}" if twice else ""),
            "drop the file that the declaration describes, or declare its columns.",
        )
    if unexpected:
        notes.append(f"{where}: columns that are not declared were not read: {', '.join(unexpected)}")
    return {name: place for place, name in enumerate(names)}


def _refused(where: str, why: str, todo: str) -> ClearwayError:
    return ClearwayError(f"{where}: {why}", untouched="all other documents.", todo=todo)


def _row(cells: list[str], columns: Mapping[str, int], table: Table) -> dict[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells, expected {len(columns)}")
    row = {column: cells[columns[column]].strip() for column in table.columns}
    return {column: "" if cell in table.empty else cell for column, cell in row.items()}


class _Rows:
    """Makes a document of a row; what holds for all rows of a file is worked out once."""

    def __init__(self, source: DocumentSource, table: Table, path: str) -> None:
        self.source, self.table, self.path = source, table, path
        self.title, self.text = Template(table.title), [Template(text) for text in table.text]
        self.labels, self.declaration = source.labels_of(path), source.fingerprint()
        # Rows name few things many times.
        self.values = [cache(partial(entity_values, entity=entity)) for entity in table.entities]

    def document(self, row: Mapping[str, str], key: tuple[str, ...]) -> tuple[Document, list[str]]:
        """The document, and remarks on cells that were left out of its metadata.

        Raises:
            ValueError: the row cannot be one.
        """
        table, remarks = self.table, list[str]()
        metadata: dict[str, Scalar] = {}
        said = {column: table.values.get(column, {}).get(cell, cell) for column, cell in row.items()}
        if table.date and row[table.date.column]:
            metadata[table.date.name] = said[table.date.column] = _day(row[table.date.column], table.date)
        for name, field in table.metadata.items():
            if row[field.column]:
                try:
                    metadata[name] = _typed(row[field.column], said[field.column], field)
                except ValueError:
                    remarks.append(f"column {field.column}: expected {field.type}, found {row[field.column][:80]!r}")
        paragraphs = [text for text in (template.fill(said) for template in self.text) if text]
        title = " ".join(self.title.fill(said).split())
        if not paragraphs or not title:
            raise ValueError("no text: every column of the templates is empty")
        labels = self.labels
        if table.labels_column:
            labels = (*labels, *_row_labels(row[table.labels_column], table.labels_column))
        made = document(
            document_uid(self.source.name, *key),
            self.source.name,
            title,
            self.source.kind,
            [Section((), "\n\n".join(paragraphs))],
            labels=labels,
            metadata=metadata,
            links=[
                (entity.kind, value)
                for entity, values in zip(table.entities, self.values, strict=True)
                for value in values(row[entity.column])
            ],
            file=f"{self.source.name}/{self.path}",
            cut=self.source.chunk,
            declaration=self.declaration,
        )
        return made, remarks


def entity_values(cell: str, entity: Entity) -> list[str]:
    """The values of a cell that name things, each once, in order."""
    found = []
    for part in re.split(entity.split, cell) if entity.split else [cell]:
        value = (part or "").strip()
        for pattern, replacement in entity.replace.items():
            value = re.sub(pattern, replacement, value).strip()
        value = value.upper() if entity.upper else value
        if value and (entity.keep is None or re.fullmatch(entity.keep, value)):
            found.append(value)
    return list(dict.fromkeys(found))


def _day(cell: str, date: DateColumn) -> str:
    try:
        moment = datetime.strptime(cell, date.format)
    except ValueError as error:
        raise ValueError(f"column {date.column}: expected a date as {date.format}, found {cell[:80]!r}") from error
    if date.zone:
        # An instant without a zone is in UTC: a literal Z in a format gives none.
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(ZoneInfo(date.zone))
    return moment.date().isoformat()


def _typed(cell: str, said: str, field: MetadataColumn) -> Scalar:
    if field.type == "integer":
        whole = int(cell)
        if abs(whole) >= 2**63:
            raise ValueError(cell)
        return whole
    if field.type == "number":
        number = float(cell)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError(cell)
        return number
    if field.type == "boolean":
        if cell.lower() not in TRUE | FALSE:
            raise ValueError(cell)
        return cell.lower() in TRUE
    return said


def _row_labels(cell: str, column: str) -> list[str]:
    labels = [label for label in re.split(r"[\s,;|]+", cell) if label]
    wrong = [label for label in labels if not LABEL.match(label)]
    if wrong:
        raise ValueError(f"column {column}: labels that are none: {', '.join(wrong)}")
    return labels
