"""The warehouse build killed at each of its boundaries and in the middle of dbt, and on a full disk."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import Any

import duckdb
import psutil
import pytest

from assets.warehouse.ledger import reading
from tests.faults.forker import Forker
from tests.faults.library import JANUARY, Library, late

pytestmark = [pytest.mark.faults, pytest.mark.integration]
LATER = "2021-06-01T00:00:00+00:00"


def seen(library: Library) -> dict[str, Any]:
    """What readers of the published file see of January, over the tables that a correction changes."""
    with reading(library.settings.warehouse_file) as connection:

        def ask(sql: str) -> Any:
            return connection.execute(sql).fetchall()

        return {
            "late": ask(
                "select count(*), sum(is_late), count(distinct loan) from main.fct_loans where period = '2021-01-01'"
            ),
            "examples": ask("select count(*), count(distinct (loan, label_known_at)) from main.examples_late_return"),
            "features": ask("select count(*), sum(late_share) from main.feat_reader_daily"),
            "key": ask("select key from clearway.builds where period = '2021-01-01' and model = 'fct_loans'"),
        }


def bytes_of(library: Library) -> str:
    return hashlib.sha256(library.settings.warehouse_file.read_bytes()).hexdigest()


def correct(forker: Forker, library: Library, number: int, loans: int = 10) -> None:
    """January loans that were returned in time come back late; the lakehouse has it, the warehouse not yet."""
    with reading(library.settings.warehouse_file) as connection:
        rows = connection.execute(
            "select loan from main.fct_loans where period = '2021-01-01' and is_late = 0 order by loan limit ?", [loans]
        ).fetchall()
    library.redrop(JANUARY, late({row[0] for row in rows}))
    assert forker.does("ingest", "2021-01-01", "loans", f"2021-06-{number:02d}T00:00:00+00:00") == "published"


def no_copy_left(library: Library) -> None:
    assert list((library.settings.warehouse / "build").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "boundary", "published"),
    [(1, "warehouse.copied", False), (2, "warehouse.tested", False), (3, "warehouse.published", True)],
)
def test_killed_readers_see_old_or_new_and_a_rerun_ends_in_new(
    forker: Forker, built: Library, number: int, boundary: str, published: bool
) -> None:
    correct(forker, built, number)
    old, before = seen(built), bytes_of(built)
    forker.killed(boundary, "build", "2021-01-01")
    after_kill = seen(built)
    if not published:
        assert bytes_of(built) == before
    assert forker.does("build", "2021-01-01") == ("unchanged" if published else "built")
    new = seen(built)
    assert after_kill == (new if published else old)
    assert new["late"][0] == (1500, old["late"][0][1] + 10, 1500)
    assert new["examples"][0][0] == new["examples"][0][1] == old["examples"][0][0] + 10
    no_copy_left(built)


def test_killed_while_dbt_works_its_orphan_does_no_harm(forker: Forker, built: Library) -> None:
    """dbt goes on without its parent for a while: the next build waits for it, and then begins anew."""
    correct(forker, built, 4)
    old, before = seen(built), bytes_of(built)
    forker.start("build", "2021-01-01")
    dbt: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while not dbt and time.monotonic() < deadline:
        dbt = [p for p in psutil.Process(forker.process.pid).children(recursive=True) if "build" in p.cmdline()]
        time.sleep(0.05)
    parent = dbt[0].parent()
    assert parent is not None
    os.kill(parent.pid, signal.SIGKILL)
    assert forker.ended().code == -signal.SIGKILL
    assert bytes_of(built) == before
    assert forker.does("build", "2021-01-01") == "built"
    assert not dbt[0].is_running(), "the build began while another dbt wrote in its folder"
    assert seen(built)["late"][0] == (1500, old["late"][0][1] + 10, 1500)
    no_copy_left(built)


def test_a_folder_that_cannot_be_written_is_a_clear_error(forker: Forker, built: Library) -> None:
    correct(forker, built, 5)
    before = bytes_of(built)
    folder = built.settings.warehouse / "build"
    folder.rmdir()
    folder.write_text("a file where the folder should be")
    try:
        ended = forker.run("build", "2021-01-01")
    finally:
        folder.unlink()
    assert ended.error == "ClearwayError", ended
    assert "cannot be written" in (ended.what or "")
    assert bytes_of(built) == before


def fill(library: Library) -> None:
    """Leave no block free inside the file, so that whatever is built must make it grow: a copy holds what is in use."""
    file = library.settings.warehouse_file
    compact = file.with_suffix(".compact")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{file}' as old (read_only)")
        connection.execute(f"attach '{compact}' as new")
        connection.execute("copy from database old to new")
        connection.execute("checkpoint new")
    with duckdb.connect(str(compact)) as connection:
        ((free,),) = connection.execute("select free_blocks from pragma_database_size()").fetchall()
    assert free == 0
    compact.replace(file)


def test_a_full_disk_leaves_the_published_file(forker: Forker, built: Library) -> None:
    """The disk is full while the file is copied, or later while dbt builds what makes the file grow."""
    correct(forker, built, 6, loans=1500)
    fill(built)
    old, before = seen(built), bytes_of(built)
    size = built.settings.warehouse_file.stat().st_size
    for limit in (size - 4096, size + 4096):
        ended = forker.run("build", "2021-01-01", limit=limit)
        assert ended.error in ("ClearwayError", "BuildFailed"), ended  # by DuckDB here, or by DuckDB in dbt
        assert "File too large" in (ended.what or "")
        assert ended.untouched == "the published warehouse; readers see what they saw before."
        assert ended.todo
        assert (bytes_of(built), seen(built)) == (before, old)
        no_copy_left(built)
    assert forker.does("build", "2021-01-01") == "built"
