"""Reads a dropped file row by row, so that one bad value costs one row and a broken file costs nothing but itself."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.ingestion.spec import ColumnType, Source
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class DropRejected(ClearwayError):
    """A drop that is not published; what readers see stays as it was. ``reason`` is the rule that rejected it."""

    def __init__(self, what: str, *, reason: str, todo: str) -> None:
        self.reason = reason
        super().__init__(what, untouched="the published data; readers still see what they saw before.", todo=todo)


@dataclass(frozen=True)
class RawDrop:
    """A drop as it was written: text in every column, nothing judged yet.

    Attributes:
        content_id: hash of the file's bytes (hex, 16 characters); the same bytes are the same drop.
        table: the declared columns as strings (parquet: as typed in the file), one row a well-formed record.
        row_numbers: position in the file of each row of ``table``, counted from 1.
        malformed: (position, text) of records whose number of fields is wrong.
        extra_columns: columns of the file that nobody declared.
    """

    content_id: str
    table: pa.Table
    row_numbers: np.ndarray
    malformed: list[tuple[int, str]]
    extra_columns: tuple[str, ...]

    @property
    def received(self) -> int:
        return self.table.num_rows + len(self.malformed)


def content_id(path: Path) -> str:
    """Hash of the file's bytes (hex, 16 characters)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:16]


def read_drop(path: Path, source: Source) -> RawDrop:
    """Read a dropped file.

    Raises:
        DropRejected: the file is empty, truncated, not of the declared format, or misses a declared column.
    """
    identity = content_id(path)
    if path.stat().st_size == 0:
        raise DropRejected(f"{path}: the file is empty (0 bytes).", reason="readable_file", todo="drop the whole file.")
    malformed: list[tuple[int, str]] = []
    if source.file.format == "parquet":
        table = _parquet(path)
    else:
        table, malformed = _csv(_decompress(path, source), path, source)
    declared = [c.name for c in source.columns]
    missing = [name for name in declared if name not in table.column_names]
    if missing:
        raise DropRejected(
            f"{path}: source {source.name} declares the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}, which the file does not have; it has {', '.join(table.column_names)}.",
            reason="columns_present",
            todo=f"drop a file with all columns, or change sources/{source.name}.yaml.",
        )
    extra = tuple(name for name in table.column_names if name not in declared)
    return RawDrop(
        identity, table.select(declared), _row_numbers(table.num_rows, [n for n, _ in malformed]), malformed, extra
    )


def _decompress(path: Path, source: Source) -> bytes:
    broken = f"{path}: not a whole {source.file.compression} file"
    try:
        if source.file.compression == "gzip":
            with gzip.open(path) as file:
                return file.read()
        if source.file.compression == "zip":
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.namelist() if not m.endswith("/")]
                if len(members) != 1:
                    raise zipfile.BadZipFile(f"{len(members)} files inside, expected 1")
                return archive.read(members[0])
        return path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise DropRejected(f"{broken}: {error}.", reason="readable_file", todo="drop the whole file again.") from error


def _csv(content: bytes, path: Path, source: Source) -> tuple[pa.Table, list[tuple[int, str]]]:
    import pyarrow as pa
    from pyarrow import csv

    malformed: list[tuple[int, str]] = []

    def keep(row: Any) -> str:
        # csv counts the header as row 1
        malformed.append((row.number - 1, row.text))
        return "skip"

    if not content.strip():
        raise DropRejected(f"{path}: no header and no row.", reason="readable_file", todo="drop the whole file.")
    try:
        header = csv.open_csv(io.BytesIO(content), parse_options=csv.ParseOptions(invalid_row_handler=lambda _: "skip"))
        names = header.schema.names
        header.close()
        table = csv.read_csv(
            io.BytesIO(content),
            read_options=csv.ReadOptions(use_threads=False),  # threads lose the row numbers
            parse_options=csv.ParseOptions(invalid_row_handler=keep, newlines_in_values=False),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=list(source.file.null_values),
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DropRejected(f"{path}: not a CSV file: {error}.", reason="readable_file", todo="drop a CSV.") from error
    return table, malformed


def _parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DropRejected(
            f"{path}: not a parquet file: {error}.", reason="readable_file", todo="drop it again."
        ) from error


def _row_numbers(rows: int, malformed: list[int]) -> np.ndarray:
    import numpy as np

    every = np.arange(1, rows + len(malformed) + 1, dtype=np.int64)
    return every[~np.isin(every, malformed)] if malformed else every


def arrow_type(kind: ColumnType) -> pa.DataType:
    """The Arrow type in which a declared column type is published."""
    import pyarrow as pa

    return {
        "string": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
    }[kind]


def cast(drop: RawDrop, source: Source) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """Cast each column to its declared type.

    Returns:
        The typed table, with null where a value does not cast, and for each column that has such values the
        indices of their rows (0-based, int64).
    """
    import numpy as np
    import pyarrow as pa

    columns, failures = [], {}
    for column in source.columns:
        values = drop.table.column(column.name).combine_chunks()
        target = arrow_type(column.type)
        try:
            typed = values.cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            typed, failed = coerce(values.cast(pa.string()), column.type)
            if failed.any():
                failures[column.name] = np.flatnonzero(failed)
        columns.append(typed)
    return pa.table(columns, names=[c.name for c in source.columns]), failures


EXACT = 2.0**53  # below which every whole number is a float


def coerce(values: pa.Array, kind: ColumnType) -> tuple[pa.Array, np.ndarray]:
    """Cast what can be cast; the mask is True where a text was there and is not of the type."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    text = values.to_pandas()
    present = text.notna().to_numpy()
    if kind in ("integer", "number"):
        numbers = pd.to_numeric(text, errors="coerce").astype("float64")
        good = numbers.notna().to_numpy() & np.isfinite(numbers.to_numpy())
        if kind == "integer":
            good &= (numbers.to_numpy() % 1 == 0) & (np.abs(numbers.to_numpy()) < 2.0**63)
        typed = pa.array(numbers.where(good), type=arrow_type("number"), from_pandas=True).cast(arrow_type(kind))
        large = good & (np.abs(numbers.to_numpy()) >= EXACT)
        if kind == "integer" and large.any():  # a float has no room for these
            exact = typed.to_pylist()
            for row in np.flatnonzero(large):
                if (digits := str(text.iloc[row]).strip().lstrip("+-")).isdigit() and int(digits) < 2**63:
                    exact[row] = int(str(text.iloc[row]))
            typed = pa.array(exact, arrow_type(kind))
    elif kind in ("timestamp", "date"):
        instants = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
        good = instants.notna().to_numpy()
        typed = pa.array(instants, type=arrow_type("timestamp"), from_pandas=True)
        if kind == "date":
            typed = typed.cast(pa.date32())
    elif kind == "boolean":
        mapped = text.str.lower().map({"true": True, "false": False, "1": True, "0": False})
        good = mapped.notna().to_numpy()
        typed = pa.array(mapped, type=pa.bool_(), from_pandas=True)
    else:
        good = present
        typed = values
    return typed, present & ~good
