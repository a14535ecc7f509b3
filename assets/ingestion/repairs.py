"""The named repairs of a contract: each changes only the rows that failed its rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assets.ingestion.spec import Repair

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def apply(table: pa.Table, repair: Repair, failing: np.ndarray, others: Mapping[str, pa.Table]) -> pa.Table:
    """Repair the failing rows of ``table``.

    Args:
        table: typed rows.
        failing: indices of the rows to repair (0-based).
        others: tables of the sources that a correction takes from, by source name.

    Returns:
        A table of the same schema; rows that are not in ``failing`` are untouched.
    """
    if repair.set is not None:
        for column, value in repair.set.items():
            table = _replace(table, column, failing, [value] * len(failing))
    elif repair.map is not None:
        for column, mapping in repair.map.items():
            current = table.column(column).take(failing).to_pylist()
            table = _replace(table, column, failing, [mapping.get(_key(v), v) for v in current])
    elif repair.correct is not None:
        keys = list(repair.correct.match)
        other = others[repair.correct.source].select([*repair.correct.match.values(), *repair.correct.take.values()])
        found = {tuple(row[c] for c in repair.correct.match.values()): row for row in other.to_pylist()}
        rows = [found.get(tuple(row[k] for k in keys)) for row in table.select(keys).take(failing).to_pylist()]
        for column, theirs in repair.correct.take.items():
            current = table.column(column).take(failing).to_pylist()
            values = [row[theirs] if row else old for row, old in zip(rows, current, strict=True)]
            table = _replace(table, column, failing, values)
    return table


def _key(value: Any) -> str:
    """How a value is spelled as a key in YAML: 2400 and not 2400.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _replace(table: pa.Table, column: str, rows: np.ndarray, values: list[Any]) -> pa.Table:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    position = table.column_names.index(column)
    current = table.column(column).combine_chunks()
    order = np.argsort(rows)
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[rows] = True
    replacements = pa.array([values[i] for i in order], type=current.type)
    return table.set_column(position, table.schema.field(position), pc.replace_with_mask(current, mask, replacements))
