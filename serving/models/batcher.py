"""Groups concurrent calls into one batch, without waiting for any.

One thread works. While it works on a batch, calls queue; when it is done it takes all that have come, up to a number of
rows. A lone call is answered at once, and the busier the server the larger the batches: no timer, no added latency.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from serving.errors import ClearwayError

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Overloaded(ClearwayError):
    """More rows wait than the server will hold; come back later."""


@dataclass
class _Waiting(Generic[Job, Answer]):
    job: Job
    future: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop


class Batcher(Generic[Job, Answer]):
    """Runs ``work`` on batches in one thread.

    Args:
        work: answers of a batch, one a job, in order; an exception instead of an answer fails that job alone, a raised
            one fails the batch.
        rows: how many rows a job has.
        max_rows: rows in a batch (a single larger job is a batch of its own).
        max_waiting: rows that may wait before calls are refused.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Sequence[Answer | Exception]],
        rows: Callable[[Job], int],
        max_rows: int = 256,
        max_waiting: int = 8192,
    ) -> None:
        self._work, self._rows, self._max_rows, self._max_waiting = work, rows, max_rows, max_waiting
        self._queue: deque[_Waiting[Job, Answer]] = deque()
        self._waiting = 0
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    async def submit(self, job: Job) -> Answer:
        """The job's answer.

        Raises:
            Overloaded: too many rows wait.
            Exception: whatever ``work`` raised for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        rows = self._rows(job)
        with self._ready:
            if self._closed:
                raise Overloaded("the server is shutting down", todo="send the request again.")
            if self._waiting and self._waiting + rows > self._max_waiting:
                raise Overloaded(f"{self._waiting} rows wait already", todo="send the request again in a second.")
            self._waiting += rows
            self._queue.append(_Waiting(job, future, loop))
            self._ready.notify()
        return await future

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join(timeout=30)

    def _take(self) -> list[_Waiting[Job, Answer]]:
        with self._ready:
            while not self._queue and not self._closed:
                self._ready.wait()
            batch: list[_Waiting[Job, Answer]] = []
            total = 0
            while self._queue:
                rows = self._rows(self._queue[0].job)
                if batch and total + rows > self._max_rows:
                    break
                batch.append(self._queue.popleft())
                total += rows
            self._waiting -= total
            return batch

    def _run(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                return
            answers: Sequence[Answer | Exception]
            try:
                answers = self._work([waiting.job for waiting in batch])
            except Exception as error:  # every caller of the batch is told, the thread lives on
                answers = [error] * len(batch)
            batch[0].loop.call_soon_threadsafe(_deliver, [waiting.future for waiting in batch], answers)


def _deliver(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer | Exception]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # the caller has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
