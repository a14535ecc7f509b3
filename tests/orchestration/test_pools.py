"""A step that waits for a place in a pool: it gets one that is free, and it waits without a busy core."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

from orchestration import pools


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteEventLogStorage]:
    pools.mend()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        kept = SqliteEventLogStorage(str(tmp_path / "events"))
        kept.register_instance(instance)
        kept.set_concurrency_slots("stove", 1)
        yield kept
        kept.dispose()


def test_a_place_that_is_given_back_just_before_somebody_waits_is_not_lost(
    storage: SqliteEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage.claim_concurrency_slot("stove", "first", "cook").is_claimed
    wait = storage.add_pending_step

    def just_then(*arguments: Any, **named: Any) -> None:
        storage.free_concurrency_slot_for_step("first", "cook")
        wait(*arguments, **named)

    monkeypatch.setattr(storage, "add_pending_step", just_then)
    plain = SqlEventLogStorage.claim_concurrency_slot.__wrapped__  # type: ignore[attr-defined]
    assert not plain(storage, "stove", "second", "cook").is_claimed
    assert not plain(storage, "stove", "second", "cook").is_claimed, "Dagster has mended it: remove orchestration.pools"
    assert storage.claim_concurrency_slot("stove", "second", "cook").is_claimed


def test_a_place_that_is_taken_is_waited_for_by_all_and_given_to_one(storage: SqliteEventLogStorage) -> None:
    assert storage.claim_concurrency_slot("stove", "first", "cook").is_claimed
    for name in ("second", "third"):
        assert not storage.claim_concurrency_slot("stove", name, "cook").is_claimed
    storage.free_concurrency_slot_for_step("first", "cook")
    got = [storage.claim_concurrency_slot("stove", name, "cook").is_claimed for name in ("third", "second")]
    assert sorted(got) == [False, True]


@pytest.mark.integration
def test_waiting_costs_no_core(tmp_path: Path) -> None:
    pools.mend()

    @dg.op(pool="stove")
    def cook() -> None: ...

    @dg.job(executor_def=dg.in_process_executor)
    def meal() -> None:
        cook()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        events = instance.event_log_storage
        events.set_concurrency_slots("stove", 1)
        assert events.claim_concurrency_slot("stove", "another", "step").is_claimed
        release = threading.Timer(4, lambda: events.free_concurrency_slot_for_step("another", "step"))
        release.start()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        assert meal.execute_in_process(instance=instance).success
        after, waited = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    assert waited >= 3.5
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.6 * waited, f"{used:.1f} CPU s in {waited:.1f} s"
