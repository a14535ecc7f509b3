"""From a dropped file to rows worth publishing, rows in quarantine, and a report in which every row is found.

Pure but for reading the file: nothing is written here. ``published + quarantined = received`` holds for every
``Prepared``, by construction and again by the check on what was stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.ingestion import contracts, repairs
from assets.ingestion.reading import DropRejected, RawDrop, cast, read_drop
from assets.ingestion.spec import Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Columns that ingestion adds to every published row.
META = ("_drop", "_row", "_known_at", "_repaired", "_noted")


@dataclass(frozen=True)
class Prepared:
    """A drop that may be published.

    Attributes:
        content_id: hash of the file's bytes.
        table: rows to publish, the declared columns in their types and the columns of ``META``.
        quarantine: rows kept aside: ``_drop``, ``_row``, ``rule``, ``reason``, ``record`` (the row as JSON).
        received: records in the file.
        rules: for each rule {rule, action, failing, share}.
        extra_columns: columns of the file that nobody declared.
    """

    content_id: str
    table: pa.Table
    quarantine: pa.Table
    received: int
    rules: list[dict[str, Any]]
    extra_columns: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        repaired = self.table.num_rows - self.table.column("_repaired").null_count
        noted = self.table.num_rows - self.table.column("_noted").null_count
        return {
            "received": self.received,
            "published": self.table.num_rows,
            "quarantined": self.quarantine.num_rows,
            "repaired": repaired,
            "noted": noted,
        }


def prepare(
    path: Path, source: Source, context: contracts.Context, others: Mapping[str, pa.Table], known_at: datetime | None
) -> Prepared:
    """Judge a drop by its source's contract.

    Args:
        path: the dropped file.
        source: its declaration.
        context: the period and the referenced values.
        others: tables of the sources that repairs take from.
        known_at: when the content became known if it corrects an earlier drop; None for a first drop, whose rows
            were known as they happened.

    Raises:
        DropRejected: the file cannot be read, a rule that rejects fails, or too many rows fail.
    """
    return judge(read_drop(path, source), path, source, context, others, known_at)


def judge(
    drop: RawDrop,
    path: Path,
    source: Source,
    context: contracts.Context,
    others: Mapping[str, pa.Table],
    known_at: datetime | None,
) -> Prepared:
    """As :func:`prepare`, of rows that were read before; ``path`` names them in what is said."""
    import numpy as np
    import pyarrow as pa

    typed, uncast = cast(drop, source)
    reasons: dict[int, tuple[str, str]] = {}  # row -> rule, reason
    for column, rows in uncast.items():
        kind = next(c.type for c in source.columns if c.name == column)
        texts = drop.table.column(column).take(rows).to_pylist()
        for row, text in zip(rows.tolist(), texts, strict=True):
            reasons.setdefault(row, ("types", f"{column}: {text!r} is not of type {kind}"))
    found: dict[str, int] = {"row_shape": len(drop.malformed), "types": len(reasons)}
    _refuse_if_too_many(path, source, drop, len(reasons) + len(drop.malformed), found)

    results = contracts.evaluate(typed, source, context, source.rules)
    rules = {rule.name: rule for rule in source.rules}
    for result in results:
        found[result.rule] = len(result.failing) if result.observed is None else int(not result.passed)
        if result.action == "reject" and not result.passed:
            raise _rejection(path, source, result, typed)
    quarantine = {r.rule: r.failing for r in results if r.action == "quarantine"}
    quarantine["key_unique"] = _not_first_of_identical(typed, quarantine["key_unique"], source.key)
    found["key_unique"] = len(quarantine["key_unique"])
    repaired: dict[int, list[str]] = {}
    for result in results:
        repair = rules[result.rule].repair if result.rule in rules else None
        if repair is not None and len(result.failing):
            typed = repairs.apply(typed, repair, result.failing, others)
            for row in result.failing.tolist():
                repaired.setdefault(row, []).append(result.rule)
    if repaired:
        again = [r for r in source.rules if r.action == "repair"]
        for result in contracts.evaluate(typed, source, context, again):
            if result.action == "repair":
                quarantine[result.rule] = result.failing
    for name, failing in quarantine.items():
        why = rules[name].description if name in rules else contracts.BUILT_IN[name]
        for row in failing.tolist():
            reasons.setdefault(row, (name, _reason(why, name in rules and rules[name].action == "repair")))
    _refuse_if_too_many(path, source, drop, len(reasons) + len(drop.malformed), found)

    noted: dict[int, list[str]] = {}
    for result in results:
        if result.action == "note":
            for row in result.failing.tolist():
                noted.setdefault(row, []).append(result.rule)
    keep = np.ones(typed.num_rows, dtype=bool)
    keep[list(reasons)] = False
    table = typed.append_column("_drop", pa.array([drop.content_id] * typed.num_rows, pa.string()))
    table = table.append_column("_row", pa.array(drop.row_numbers, pa.int64()))
    table = table.append_column("_known_at", pa.array([known_at] * typed.num_rows, pa.timestamp("us", "UTC")))
    for name, marks in (("_repaired", repaired), ("_noted", noted)):
        texts = [",".join(marks[i]) if i in marks else None for i in range(typed.num_rows)] if marks else None
        table = table.append_column(name, pa.array(texts or [None] * typed.num_rows, pa.string()))
    actions = {"row_shape": "quarantine", "types": "quarantine", **{r.rule: r.action for r in results}}
    return Prepared(
        drop.content_id,
        table.filter(pa.array(keep)),
        _quarantine_table(drop, reasons),
        drop.received,
        [
            {"rule": name, "action": actions[name], "failing": count, "share": round(count / max(1, drop.received), 6)}
            for name, count in found.items()
        ],
        drop.extra_columns,
    )


def audit(table: pa.Table, source: Source, context: contracts.Context) -> list[str]:
    """Judge rows that were staged, as they are stored; the names of rules that published rows still fail."""
    rules = [r for r in source.rules if r.action != "note" and r.on_rows]
    results = contracts.evaluate(table, source, context, rules)
    # The band is for what was dropped; what is stored may have lost rows to quarantine.
    return [r.rule for r in results if not r.passed and r.rule != "row_count"]


def _reason(description: str, repair_failed: bool) -> str:
    return f"{description}; the repair did not hold" if repair_failed else description


def _not_first_of_identical(table: pa.Table, failing: np.ndarray, key: tuple[str, ...]) -> np.ndarray:
    """Of rows with one key, identical copies keep their first; rows that contradict each other all leave."""
    if not len(failing):
        return failing
    frame = table.take(failing).to_pandas()
    frame.index = failing
    groups = frame.drop_duplicates().groupby(list(key), dropna=False).size()
    contradicting = set(groups[groups > 1].index)
    first = ~frame.duplicated(keep="first").to_numpy()
    keys = frame[list(key)].itertuples(index=False, name=None)
    alone = len(key) == 1
    agrees = [(k[0] if alone else k) not in contradicting for k in keys]
    return failing[~(first & agrees)]


def _rejection(path: Path, source: Source, result: contracts.RuleResult, table: pa.Table) -> DropRejected:
    rule = next((r for r in source.rules if r.name == result.rule), None)
    description = rule.description if rule else contracts.BUILT_IN[result.rule]
    if result.observed is not None:
        expected = f" (expected {source.rows.min} to {source.rows.max})" if result.rule == "row_count" else ""
        what = f"rule {result.rule} fails for the whole drop: observed {result.observed}{expected}"
    else:
        what = f"rule {result.rule} fails for {len(result.failing)} of {table.num_rows} rows"
    return DropRejected(
        f"{path}: {what}. The rule says: {description}.",
        reason=result.rule,
        todo=f"drop a corrected file, or change the rule in sources/{source.name}.yaml.",
    )


def _refuse_if_too_many(path: Path, source: Source, drop: RawDrop, failing: int, found: dict[str, int]) -> None:
    if drop.received and failing / drop.received > source.max_quarantined_share:
        worst = ", ".join(f"{k} {v}" for k, v in sorted(found.items(), key=lambda x: -x[1])[:3] if v)
        raise DropRejected(
            f"{path}: {failing} of {drop.received} rows ({failing / drop.received:.1%}) would be quarantined, and "
            f"{source.name} allows {source.max_quarantined_share:.1%}. Most by rule: {worst}.",
            reason="quarantined_share",
            todo=f"drop a corrected file, or change max_quarantined_share in sources/{source.name}.yaml.",
        )


def _quarantine_table(drop: RawDrop, reasons: dict[int, tuple[str, str]]) -> pa.Table:
    import pyarrow as pa

    rows = sorted(reasons)
    records = [json.dumps(r, default=str) for r in drop.table.take(rows).to_pylist()] if rows else []
    numbers = [int(drop.row_numbers[i]) for i in rows] + [n for n, _ in drop.malformed]
    rules = [reasons[i][0] for i in rows] + ["row_shape"] * len(drop.malformed)
    whys = [reasons[i][1] for i in rows] + [contracts.BUILT_IN["row_shape"]] * len(drop.malformed)
    return pa.table(
        {
            "_drop": pa.array([drop.content_id] * len(numbers), pa.string()),
            "_row": pa.array(numbers, pa.int64()),
            "rule": pa.array(rules, pa.string()),
            "reason": pa.array(whys, pa.string()),
            "record": pa.array(records + [text for _, text in drop.malformed], pa.string()),
        }
    )
