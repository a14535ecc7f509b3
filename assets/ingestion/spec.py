"""What a source declares: its file, its columns, its contract, and what each rule does to a failing row."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from assets.declared import Declared, fingerprint

ColumnType = Literal["string", "integer", "number", "boolean", "timestamp", "date"]

# Great Expectations by their own names. Row expectations say which rows fail; batch expectations judge the whole.
ROW_EXPECTATIONS = (
    "ExpectColumnValuesToNotBeNull",
    "ExpectColumnValuesToBeNull",
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
    "ExpectColumnValuesToNotBeInSet",
    "ExpectColumnValuesToMatchRegex",
    "ExpectColumnValueLengthsToBeBetween",
    "ExpectColumnPairValuesAToBeGreaterThanB",
    "ExpectColumnPairValuesToBeEqual",
    "ExpectCompoundColumnsToBeUnique",
    "ExpectColumnValuesToBeUnique",
)
BATCH_EXPECTATIONS = (
    "ExpectTableRowCountToBeBetween",
    "ExpectColumnProportionOfNonNullValuesToBeBetween",
    "ExpectColumnMeanToBeBetween",
    "ExpectColumnUniqueValueCountToBeBetween",
    "ExpectColumnDistinctValuesToContainSet",
)

Action = Literal["quarantine", "repair", "note", "reject"]


class FileFormat(Declared):
    """How the dropped file is written."""

    format: Literal["csv", "parquet"] = "csv"
    compression: Literal["none", "gzip", "zip"] = "none"
    null_values: tuple[str, ...] = ("", "NA")


class Column(Declared):
    """One column of the source, as it must arrive and as it is published."""

    name: str
    type: ColumnType
    description: str = ""


class FromSource(Declared):
    """Values of another source, for a reference or a repair."""

    source: str
    columns: tuple[str, ...] = Field(min_length=1)


class Correction(Declared):
    """A repair that takes columns from the matching row of another source."""

    source: str
    match: dict[str, str] = Field(min_length=1, description="this source's column: the other's column")
    take: dict[str, str] = Field(min_length=1, description="this source's column: the other's column")


class Repair(Declared):
    """What a repair does to a row that fails its rule; exactly one of the three."""

    set: dict[str, str | float | int | None] | None = None
    map: dict[str, dict[str, str | float | int | None]] | None = None
    correct: Correction | None = None

    @model_validator(mode="after")
    def _one(self) -> Repair:
        if sum(x is not None for x in (self.set, self.map, self.correct)) != 1:
            raise ValueError("exactly one of set, map, correct")
        return self


class Rule(Declared):
    """One named rule of a contract: an expectation, and what happens to a row that fails it.

    ``references`` replaces ``value_set`` by the values of another source; ``in_period`` bounds a column by the
    partition that the drop is for.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str
    action: Action
    expectation: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    when: str | None = Field(default=None, description="only rows for which this pandas query holds are judged")
    references: FromSource | None = None
    columns: tuple[str, ...] = ()
    in_period: str | None = Field(default=None, description="timestamp column that must lie in the drop's period")
    repair: Repair | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Rule:
        kinds = [k for k in ("expectation", "references", "in_period") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(f"rule {self.name}: exactly one of expectation, references, in_period")
        known = (*ROW_EXPECTATIONS, *BATCH_EXPECTATIONS)
        if self.expectation is not None and self.expectation not in known:
            raise ValueError(f"rule {self.name}: expectation is one of {', '.join(known)}")
        if self.expectation in BATCH_EXPECTATIONS and self.action not in ("reject", "note"):
            raise ValueError(f"rule {self.name}: a rule on the whole batch can reject or note, not {self.action} rows")
        if (self.action == "repair") != (self.repair is not None):
            raise ValueError(f"rule {self.name}: action repair and the field repair go together")
        if self.references is not None and len(self.references.columns) != len(self.columns):
            raise ValueError(f"rule {self.name}: as many columns here as references.columns")
        return self

    @property
    def on_rows(self) -> bool:
        return self.expectation not in BATCH_EXPECTATIONS


class RowBand(Declared):
    """How many rows a drop may have."""

    min: int = Field(ge=0)
    max: int = Field(ge=1)


class Feed(Declared):
    """What operations tell of a source before its file comes, event by event."""

    late_minutes: float = Field(
        default=60, gt=0, description="an event that arrives so long after it was known counts as known when it comes"
    )
    silent_minutes: float = Field(default=1440, gt=0, description="of silence, after which the check `tells` warns")


class Source(Declared):
    """One source: what is dropped, what is promised about it, and what happens when the promise is broken."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    owner: str | None = None
    partitioned: bool
    file: FileFormat = FileFormat()
    key: tuple[str, ...] = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: RowBand
    max_quarantined_share: float = Field(ge=0, le=1, description="above this share the whole drop is rejected")
    rules: tuple[Rule, ...] = ()
    feed: Feed | None = None
    due_days: float = Field(default=5, ge=0, description="after a period's end, by which its file is expected")

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.feed is not None and self._dated is None:
            raise ValueError("feed: a rule with in_period must say to which period a record belongs")
        names = [c.name for c in self.columns]
        for label, items in (("columns", names), ("rules", [r.name for r in self.rules])):
            twice = sorted({n for n in items if items.count(n) > 1})
            if twice:
                raise ValueError(f"{label}: named twice: {', '.join(twice)}")
        used = {**dict.fromkeys(self.key, "key")}
        for rule in self.rules:
            used.update(dict.fromkeys((*rule.columns, *filter(None, [rule.in_period])), f"rule {rule.name}"))
            for argument in ("column", "column_A", "column_B"):
                if isinstance(rule.arguments.get(argument), str):
                    used[rule.arguments[argument]] = f"rule {rule.name}"
            if rule.in_period and not self.partitioned:
                raise ValueError(f"rule {rule.name}: in_period needs a partitioned source")
        unknown = sorted(f"{c} ({where})" for c, where in used.items() if c not in names)
        if unknown:
            raise ValueError(f"not declared under columns: {', '.join(unknown)}")
        return self

    @property
    def _dated(self) -> str | None:
        return next((rule.in_period for rule in self.rules if rule.in_period), None)

    @property
    def dated(self) -> str:
        """The column that says to which period a record of the feed belongs."""
        assert self._dated is not None
        return self._dated

    def fingerprint(self) -> str:
        """Hash of what judges a drop (hex, 16 characters): what comes when makes no row another."""
        return fingerprint(self.model_dump(mode="json", exclude={"feed", "due_days"}))

    @property
    def sources_read(self) -> tuple[str, ...]:
        """Names of the other sources that the contract reads."""
        read: list[str] = []
        for rule in self.rules:
            if rule.references:
                read.append(rule.references.source)
            if rule.repair and rule.repair.correct:
                read.append(rule.repair.correct.source)
        return tuple(dict.fromkeys(read))
