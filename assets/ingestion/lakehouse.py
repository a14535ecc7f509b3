"""The Iceberg tables: staged on a branch, audited there, published by moving ``main`` if it is still where it was.

Two partitions may be staged from one base at the same time. Moving ``main`` blindly to the second would lose the
first, so the move asserts the base, and a publisher that lost the race stages again on the new one.
"""

from __future__ import annotations

import json
import random
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError
from serving.faults import boundary

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table

PERIOD = "_period"
ATTEMPTS = 20


@dataclass(frozen=True)
class Entry:
    """What the ledger says of one partition: written in the snapshot that published it, so never apart from the data.

    Attributes:
        key: publish key, the hash of everything the content depends on.
        snapshot_id: the snapshot that published it.
        report: counts, rules and changes, as given to ``publish``.
    """

    key: str
    snapshot_id: int
    report: dict[str, Any]


class Lakehouse:
    """Iceberg tables in one SQL catalog.

    Args:
        catalog_uri: SQLAlchemy address of the catalog.
        location: URI of the folder or bucket that holds the tables.
    """

    def __init__(self, catalog_uri: str, location: str) -> None:
        self.catalog_uri = catalog_uri
        self.location = location

    @cached_property
    def catalog(self) -> SqlCatalog:
        from pyiceberg.catalog.sql import SqlCatalog

        # A first publication replaces nothing, and pyiceberg would say so each time.
        warnings.filterwarnings("ignore", message="Delete operation did not match any records")
        for uri, scheme in ((self.catalog_uri, "sqlite:///"), (self.location, "file://")):
            if uri.startswith(scheme):
                path = Path(uri.removeprefix(scheme))
                folder = path.parent if scheme == "sqlite:///" else path
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise _unwritable(str(folder), error) from error
        return SqlCatalog("clearway", uri=self.catalog_uri, warehouse=self.location)

    def load(self, name: str) -> Table | None:
        """The table ``namespace.name`` as it is now, or None when nothing was ever published to it."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self.catalog.load_table(name)
        except NoSuchTableError:
            return None

    def read(self, name: str, columns: tuple[str, ...] | None = None, period: date | None = None) -> pa.Table | None:
        """Published rows, or None when the table does not exist."""
        table = self.load(name)
        if table is None:
            return None
        return table.scan(row_filter=_only(period), selected_fields=columns or ("*",)).to_arrow()

    def ledger(self, name: str) -> dict[date | None, Entry]:
        """For each published partition (None for a table without partitions) what published it last."""
        table = self.load(name)
        found: dict[date | None, Entry] = {}
        if table is None:
            return found
        snapshot = table.current_snapshot()
        while snapshot is not None:
            properties = snapshot.summary.additional_properties if snapshot.summary else {}
            if "clearway.key" in properties:
                period = date.fromisoformat(p) if (p := properties["clearway.period"]) else None
                found.setdefault(
                    period,
                    Entry(properties["clearway.key"], snapshot.snapshot_id, json.loads(properties["clearway.report"])),
                )
            parent = snapshot.parent_snapshot_id
            snapshot = table.snapshot_by_id(parent) if parent is not None else None
        return found

    def publish(
        self,
        name: str,
        rows: pa.Table,
        period: date | None,
        key: str,
        report: dict[str, Any],
        audit: Callable[[pa.Table], None],
    ) -> int:
        """Replace one partition: stage on a branch, audit what was stored, move ``main``.

        Args:
            name: ``namespace.table``.
            rows: the whole new content of the partition.
            period: the partition, or None to replace a table without partitions.
            key: publish key; the ledger keeps it.
            report: JSON-serialisable facts for the ledger.
            audit: is given the rows as stored on the branch and raises to refuse them.

        Returns:
            The id of the snapshot that was published.

        Raises:
            ClearwayError: the store cannot be written, or other publishers won every attempt.
        """
        from pyiceberg.exceptions import CommitFailedException
        from sqlalchemy.exc import OperationalError

        if period is not None:
            rows = _with_period(rows, period)
        properties = {
            "clearway.key": key,
            "clearway.period": period.isoformat() if period else "",
            "clearway.report": json.dumps(report, default=str),
        }
        for attempt in range(ATTEMPTS):
            time.sleep(attempt * random.uniform(0.02, 0.1))
            branch = f"stage-{period.isoformat() if period else 'table'}-{uuid.uuid4().hex[:12]}"
            try:
                table = self._ensure(name, rows, period)
                base = table.current_snapshot()
                assert base is not None
                staged = self._stage(table, branch, base.snapshot_id, rows, period, properties)
                boundary("ingestion.staged")
                audit(table.scan(row_filter=_only(period), snapshot_id=staged).to_arrow())
                boundary("ingestion.audited")
                self._move_main(table, base.snapshot_id, staged, period)
                boundary("ingestion.published")
                return staged
            except CommitFailedException:
                continue  # another publisher moved main: stage again on what it published
            except ValueError as error:
                if not _lost_race(error):
                    raise
            except (OSError, OperationalError) as error:
                raise _unwritable(name, error) from error
        raise ClearwayError(
            f"{name}, partition {period}: other publishers won {ATTEMPTS} attempts in a row.",
            untouched="main; readers see what they saw before.",
            todo="run the partition again when fewer runs publish to this table.",
        )

    def replace_rows(self, name: str, rows: pa.Table, column: str, *values: str) -> None:
        """Append rows, replacing those whose ``column`` is one of ``values``; for what a rerun must not double."""
        from pyiceberg.exceptions import CommitFailedException
        from sqlalchemy.exc import OperationalError

        for attempt in range(ATTEMPTS):
            time.sleep(attempt * random.uniform(0.02, 0.1))
            try:
                table = self._ensure(name, rows, None)
                # An overwrite costs several times an append, and is wanted only when a killed run left rows.
                if table.scan(_one_of(column, values), limit=1).count():
                    table.overwrite(rows, overwrite_filter=_one_of(column, values))
                elif rows.num_rows:
                    table.append(rows)
                return
            except CommitFailedException:
                continue
            except ValueError as error:
                if not _lost_race(error):
                    raise
            except (OSError, OperationalError) as error:
                raise _unwritable(name, error) from error
        raise ClearwayError(f"{name}: other publishers won {ATTEMPTS} attempts in a row.", todo="run it again.")

    def _ensure(self, name: str, rows: pa.Table, period: date | None) -> Table:
        """The table with a first (empty) snapshot and all columns of ``rows``."""
        from pyiceberg.exceptions import TableAlreadyExistsError

        table = self.load(name)
        if table is None:
            self.catalog.create_namespace_if_not_exists(name.split(".")[0])
            with (
                suppress(TableAlreadyExistsError),
                self.catalog.create_table_transaction(name, schema=rows.schema) as creation,
            ):
                if period is not None:
                    with creation.update_spec() as spec:
                        spec.add_identity(PERIOD)
                creation.append(rows.slice(0, 0))
            table = self.catalog.load_table(name)
        if set(rows.column_names) - set(table.schema().column_names):
            with table.update_schema() as update:
                update.union_by_name(rows.schema)
            table = self.catalog.load_table(name)
        if table.current_snapshot() is None:
            table.append(rows.slice(0, 0))
        return table

    @staticmethod
    def _stage(
        table: Table, branch: str, base: int, rows: pa.Table, period: date | None, properties: dict[str, str]
    ) -> int:
        with table.manage_snapshots() as manage:
            manage.create_branch(base, branch)
        names = table.schema().column_names
        import pyarrow as pa

        for name in set(names) - set(rows.column_names):  # a column that is no longer declared stays, empty
            rows = rows.append_column(name, pa.nulls(rows.num_rows, table.schema().as_arrow().field(name).type))
        table.overwrite(
            rows.select(names), overwrite_filter=_only(period), branch=branch, snapshot_properties=properties
        )
        return table.refs()[branch].snapshot_id

    def _move_main(self, table: Table, base: int, staged: int, period: date | None) -> None:
        """Move main and remove the partition's staging branches, those of killed runs too, in one commit.

        In a second commit, a kill between the two would leave a branch that no rerun removes, since it finds the
        partition published.
        """
        from pyiceberg.table.refs import SnapshotRefType
        from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate

        main = {"ref-name": "main", "type": SnapshotRefType.BRANCH}
        prefix = f"stage-{period.isoformat() if period else 'table'}-"
        self.catalog.commit_table(
            table,
            (AssertRefSnapshotId.model_validate({"ref": "main", "snapshot-id": base}),),
            (
                SetSnapshotRefUpdate.model_validate({**main, "snapshot-id": staged}),
                *(
                    RemoveSnapshotRefUpdate.model_validate({"ref-name": ref})
                    for ref in table.refs()
                    if ref.startswith(prefix)
                ),
            ),
        )


def _lost_race(error: ValueError) -> bool:
    """pyiceberg finds some lost races by the sequence number of the snapshot, before it commits."""
    return "sequence number" in str(error)


def _only(period: date | None) -> BooleanExpression:
    from pyiceberg.expressions import AlwaysTrue

    return AlwaysTrue() if period is None else _equals(PERIOD, period.isoformat())


def _equals(column: str, value: str) -> BooleanExpression:
    from pyiceberg.expressions import EqualTo

    return EqualTo(column, value)  # type: ignore[call-arg,arg-type]  # its stubs hide the positional form


def _one_of(column: str, values: Sequence[str]) -> BooleanExpression:
    from pyiceberg.expressions import In

    return In(column, set(values))  # type: ignore[call-arg,arg-type]


def _with_period(rows: pa.Table, period: date) -> pa.Table:
    import pyarrow as pa

    return rows.append_column(PERIOD, pa.array([period] * rows.num_rows, pa.date32()))


def _unwritable(what: str, error: Exception) -> ClearwayError:
    return ClearwayError(
        f"{what}: the lakehouse cannot be written: {error}",
        untouched="main of every table; readers see what they saw before, and a rerun starts the partition anew.",
        todo="free disk space or give write permission to the lakehouse folder, then run the partition again.",
    )
