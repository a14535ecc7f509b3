"""Calls that come together are answered together, each with its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from serving.models.batcher import Batcher, Overloaded


def test_calls_that_wait_share_a_batch_and_keep_their_answers() -> None:
    sizes: list[int] = []
    gate = threading.Event()

    def work(jobs: Sequence[int]) -> list[int | Exception]:
        gate.wait(5)
        sizes.append(len(jobs))
        return [job * 10 if job != 3 else ValueError("three") for job in jobs]

    async def scenario() -> list[int | BaseException]:
        batcher: Batcher[int, int] = Batcher(work, rows=lambda _: 1, max_rows=8)
        tasks = [asyncio.create_task(batcher.submit(job)) for job in range(20)]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return found

    found = asyncio.run(scenario())
    assert [value for value in found if isinstance(value, int)] == [n * 10 for n in range(20) if n != 3]
    assert isinstance(found[3], ValueError)
    assert max(sizes) == 8
    assert sum(sizes) == 20
    assert len(sizes) <= 4


def test_a_lone_call_waits_for_nobody_and_a_failing_batch_kills_nothing() -> None:
    def work(jobs: Sequence[str]) -> list[str | Exception]:
        if "bad" in jobs:
            raise RuntimeError("broken")
        return list(jobs)

    async def scenario() -> None:
        batcher: Batcher[str, str] = Batcher(work, rows=lambda _: 1)
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.submit("bad")
        assert await asyncio.wait_for(batcher.submit("good"), 1) == "good"
        batcher.close()
        with pytest.raises(Overloaded, match="shutting down"):
            await batcher.submit("late")

    asyncio.run(scenario())


def test_too_many_waiting_rows_are_refused_at_once() -> None:
    gate = threading.Event()

    def work(jobs: Sequence[int]) -> list[int | Exception]:
        gate.wait(5)
        return list(jobs)

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(work, rows=lambda _: 1, max_rows=1, max_waiting=2)
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="2 rows wait"):
            await batcher.submit(3)
        gate.set()
        assert [await task for task in [first, *waiting]] == [0, 1, 2]
        batcher.close()

    asyncio.run(scenario())
