"""Runs a source's contract with Great Expectations and says, for each rule, which rows fail it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from assets.ingestion.spec import FromSource, Rule, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# Rules that every source has without declaring them.
BUILT_IN = {
    "readable_file": "the file is whole and of the declared format",
    "columns_present": "every declared column is in the file",
    "row_shape": "a record has as many fields as the header",
    "types": "every value is of its column's declared type",
    "key_unique": "the key names one row",
    "row_count": "the drop has about as many rows as the source declares",
    "quarantined_share": "few enough rows fail for the rest to be believed",
}


@dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    Attributes:
        rule: its name.
        action: what happens to the rows that fail.
        failing: indices (0-based, int64) of failing rows; empty for a rule on the whole batch.
        passed: whether nothing failed.
        observed: for a rule on the whole batch, what was seen.
    """

    rule: str
    action: str
    failing: np.ndarray
    passed: bool
    observed: str | None = None


@dataclass(frozen=True)
class Context:
    """What a contract may look at besides the rows: the period in UTC, and the values of other sources."""

    period: tuple[datetime, datetime] | None = None
    references: Mapping[FromSource, pa.Array] = field(default_factory=dict)


def evaluate(table: pa.Table, source: Source, context: Context, rules: Iterable[Rule]) -> list[RuleResult]:
    """Judge every row of ``table`` by ``rules``.

    Args:
        table: the typed rows.
        source: whose contract it is; its row-count band and key are always judged too.
        context: the period and the referenced values.
        rules: the rules to judge, usually ``source.rules``.

    Returns:
        One result a rule in the given order, preceded by ``row_count`` and ``key_unique``.
    """
    import great_expectations.expectations as gxe
    import numpy as np

    judged: list[tuple[str, str, Any]] = [
        (
            "row_count",
            "reject",
            gxe.ExpectTableRowCountToBeBetween(min_value=source.rows.min, max_value=source.rows.max),
        ),
        ("key_unique", "quarantine", _unique(source.key)),
    ]
    frame = table.to_pandas()
    for rule in rules:
        if rule.references:
            frame[_helper(rule)] = _found(table, rule, context.references[rule.references])
        judged.append((rule.name, rule.action, _expectation(rule, context)))
    results = []
    for (name, action, _), outcome in zip(judged, _validate(frame, [e for _, _, e in judged]), strict=True):
        if outcome.exception_info and outcome.exception_info.get("raised_exception"):
            raise ValueError(f"source {source.name}, rule {name}: {outcome.exception_info['exception_message']}")
        listed = outcome.result.get("unexpected_index_list") or []
        observed = outcome.result.get("observed_value")
        results.append(
            RuleResult(
                name,
                action,
                np.asarray(listed, dtype=np.int64),
                bool(outcome.success),
                None if observed is None else str(observed),
            )
        )
    return results


def _validate(frame: pd.DataFrame, expectations: list[Any]) -> list[Any]:
    """Run expectations in one pass; results in the order given.

    Failing rows are listed by position, not by key columns: with key columns Great Expectations builds one
    dictionary a failing row, which for 250,000 of them takes half a minute.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("drop").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for position, expectation in enumerate(expectations):
        expectation.meta = {"position": position}
    suite = gx.ExpectationSuite(name="contract", expectations=expectations)
    outcome = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    return sorted(outcome.results, key=lambda r: r.expectation_config.meta["position"])


def _unique(columns: tuple[str, ...]) -> Any:
    import great_expectations.expectations as gxe

    if len(columns) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=columns[0])
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(columns))


def _helper(rule: Rule) -> str:
    return f"_reference_{rule.name}"


def _found(table: pa.Table, rule: Rule, values: pa.Array) -> pd.Series:
    """1 where the other source has the row's value, 0 where it has not, missing where a part of it is null.

    Looked up here, because Great Expectations copies a set of values many times over; it judges the outcome.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    own = joined(table, rule.columns)
    member = pc.is_in(own, values).cast(pa.float64())
    return pc.if_else(own.is_valid(), member, pa.scalar(None, pa.float64())).to_pandas()


def _expectation(rule: Rule, context: Context) -> Any:
    import great_expectations.expectations as gxe

    condition: dict[str, Any] = {"row_condition": rule.when, "condition_parser": "pandas"} if rule.when else {}
    if rule.in_period:
        start, end = _period(rule, context)
        return gxe.ExpectColumnValuesToBeBetween(
            column=rule.in_period, min_value=start, max_value=end, strict_max=True, **condition
        )
    if rule.references:
        return gxe.ExpectColumnValuesToBeInSet(column=_helper(rule), value_set=[1.0], **condition)
    assert rule.expectation is not None
    return getattr(gxe, rule.expectation)(**rule.arguments, **condition)


def _period(rule: Rule, context: Context) -> tuple[datetime, datetime]:
    if context.period is None:
        raise ValueError(f"rule {rule.name} bounds a column by the period, and this drop is for none")
    return context.period


def joined(table: pa.Table, columns: tuple[str, ...]) -> pa.ChunkedArray:
    """Several columns as one text column, null where any of them is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [table.column(c).cast(pa.string()) for c in columns]
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "\x1f")


def distinct(table: pa.Table, columns: tuple[str, ...]) -> pa.Array:
    """The different values of :func:`joined`, without null."""
    return joined(table, columns).unique().drop_null()
