"""Users, in a process of their own: ``python -m benchmarks.users FILE`` sends steady requests until its input ends.

Each request is sent when it is due, whatever became of the ones before it, so that a service that falls behind cannot
slow its own load down.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from serving.settings import PROJECT

ANSWER_S, END_S = 60.0, 90.0
DONE = b"data: [DONE]"


@dataclass(frozen=True)
class Target:
    """What is asked: ``bodies`` in turn, ``per_second`` of them. The answer of a stream has to end with ``[DONE]``."""

    name: str
    url: str
    bodies: Sequence[dict[str, Any]]
    per_second: float
    stream: bool = False


@dataclass(frozen=True)
class Reply:
    """What a user got.

    Attributes:
        target: the target's name.
        at: when it was sent, seconds since the epoch.
        ms: until the whole answer was there, or the failure.
        status: the HTTP status; of no answer or of an incomplete one, what happened.
    """

    target: str
    at: float
    ms: float
    status: str

    @property
    def lost(self) -> bool:
        return self.status != "200"


class Users:
    """``with Users(key, targets) as users``; afterwards ``users.replies`` has every request that was sent."""

    def __init__(self, key: str, targets: Sequence[Target]) -> None:
        self._said = {"key": key, "targets": [asdict(target) for target in targets]}
        self.replies: list[Reply] = []

    def __enter__(self) -> Users:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "said.json"
        file.write_text(json.dumps(self._said))
        command = [sys.executable, "-m", "benchmarks.users", str(file)]
        self._process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "sending\n", "the load does not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._folder:
            try:
                # Closing its input tells it to send no more, and to wait for what is under way.
                written, _ = self._process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            if kind is None:
                assert self._process.returncode == 0, "the load ended by an error"
                self.replies = [Reply(*row) for row in json.loads(written)]


async def send(key: str, targets: list[Target]) -> list[Reply]:
    """Send to all targets until standard input ends, then wait for the answers under way."""
    import aiohttp

    replies: list[Reply] = []
    over = asyncio.Event()

    async def one(session: aiohttp.ClientSession, target: Target, body: bytes) -> None:
        at, started = time.time(), time.perf_counter()
        try:
            async with session.post(target.url, data=body) as response:
                content = await response.read()
            whole = not target.stream or content.rstrip().endswith(DONE)
            status = str(response.status) if whole or response.status != 200 else "incomplete"
        except (aiohttp.ClientError, TimeoutError) as error:
            status = type(error).__name__
        replies.append(Reply(target.name, at, 1000 * (time.perf_counter() - started), status))

    async def steadily(session: aiohttp.ClientSession, target: Target) -> None:
        bodies = [json.dumps(body).encode() for body in target.bodies]
        began, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as pending:
            while not over.is_set():
                pending.create_task(one(session, target, bodies[number % len(bodies)]))
                number += 1
                await asyncio.sleep(max(0.0, began + number / target.per_second - time.perf_counter()))

    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        tasks = [asyncio.create_task(steadily(session, target)) for target in targets]
        print("sending", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        over.set()
        await asyncio.gather(*tasks)
    return replies


def main() -> None:
    said = json.loads(Path(sys.argv[1]).read_text())
    replies = asyncio.run(send(said["key"], [Target(**target) for target in said["targets"]]))
    print(json.dumps([[reply.target, reply.at, reply.ms, reply.status] for reply in replies]))


if __name__ == "__main__":
    main()
