"""What a re-drop changes: rows added, removed and changed, by key, and which values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Changes:
    """Difference between what is published and what a re-drop brings.

    Attributes:
        added, removed, changed: numbers of rows by key.
        by_column: for each column, the number of changed rows in which it differs.
        examples: up to five sentences such as ``(2013, 2, 1, 'a'): value 12.0 -> 15.0``.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    by_column: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(old: pa.Table, new: pa.Table, key: tuple[str, ...], columns: tuple[str, ...]) -> tuple[Changes, pa.Table]:
    """Compare two versions of a partition.

    Args:
        old: what is published.
        new: what would replace it, with ``_known_at`` set to when the correction became known.
        key: columns that name a row.
        columns: columns whose values count.

    Returns:
        The changes, and ``new`` in which a row that did not change keeps the ``_known_at`` that it had: a
        correction makes only what it corrects newly known.
    """
    import pandas as pd
    import pyarrow as pa

    values = [c for c in columns if c not in key]
    before = old.select([*columns, "_known_at"]).to_pandas()
    after = new.select([*columns]).to_pandas()
    after["_position"] = range(len(after))
    both = after.merge(before, on=list(key), how="outer", suffixes=("", "__old"), indicator=True)
    matched = both[both["_merge"] == "both"]
    differs = pd.DataFrame(index=matched.index)
    for column in values:
        mine, theirs = matched[column], matched[f"{column}__old"]
        differs[column] = ~((mine == theirs) | (mine.isna() & theirs.isna()))
    changed = differs.any(axis=1) if values else pd.Series(False, index=matched.index)
    same = matched[~changed]
    known = new.column("_known_at").to_pylist()
    for position, instant in zip(same["_position"].astype(int), same["_known_at"], strict=True):
        known[position] = None if pd.isna(instant) else instant.to_pydatetime()
    examples = []
    for index in matched.index[changed][:5]:
        row = matched.loc[index]
        parts = [f"{c} {row[f'{c}__old']} -> {row[c]}" for c in values if differs.loc[index, c]]
        examples.append(f"({', '.join(str(row[k]) for k in key)}): {', '.join(parts)}")
    position = new.column_names.index("_known_at")
    table = new.set_column(position, new.schema.field(position), pa.array(known, pa.timestamp("us", "UTC")))
    return (
        Changes(
            added=int((both["_merge"] == "left_only").sum()),
            removed=int((both["_merge"] == "right_only").sum()),
            changed=int(changed.sum()),
            by_column={c: int(differs[c].sum()) for c in values if differs[c].any()},
            examples=examples,
        ),
        table,
    )
