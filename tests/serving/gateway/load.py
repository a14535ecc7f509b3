"""Steady requests in the background, each outcome kept."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

import httpx


class Load:
    """``with Load(url, body, headers) as load``: sends until the block ends; then ``statuses`` and ``versions``."""

    def __init__(self, url: str, body: Any, headers: dict[str, str] | None = None, threads: int = 2) -> None:
        self._url, self._body, self._headers = url, body, headers
        self.statuses: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._done.is_set():
                try:
                    response = client.post(self._url, json=self._body, headers=self._headers)
                    self.statuses[str(response.status_code)] += 1
                    if response.status_code == 200:
                        self.versions[response.json()["version"]] += 1
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                time.sleep(0.01)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
