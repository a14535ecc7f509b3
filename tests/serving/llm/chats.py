"""People who chat: each asks again when the answer is over, so that there are as many requests as the machine bears."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from serving.routing.router import ARM_HEADER
from serving.settings import Settings

PATIENCE_SECONDS = 60.0
STORY = "A gardener keeps a diary of every bed: what was sown, when it rained."


@dataclass(frozen=True)
class Told:
    """What one request came to: ``ending`` is ``[DONE]``, the code of an error event, or what was wrong instead."""

    status: str
    arm: str | None
    words: str
    ending: str


class Chats:
    """``with Chats(settings, key, model) as chats``: streams through the gateway, by ``people`` at once."""

    def __init__(
        self, settings: Settings, key: str, model: str, people: int = 3, pause_s: float = 0.2, **more: Any
    ) -> None:
        self._url = f"{settings.gateway_url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self._body = {"model": model, "max_tokens": 4, "stream": True, **more}
        self._pause_s = pause_s
        self.told: list[Told] = []
        self._speaking: Counter[str | None] = Counter()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._chat, args=(n,), daemon=True) for n in range(people)]

    @property
    def statuses(self) -> set[str]:
        return {told.status for told in self.told}

    @property
    def endings(self) -> set[str]:
        return {told.ending for told in self.told}

    @property
    def arms(self) -> Counter[str | None]:
        return Counter(told.arm for told in self.told)

    def speaking(self, arm: str) -> bool:
        """Whether somebody hears this arm at the moment: its answer has begun and is not over."""
        return self._speaking[arm] > 0

    def more(self, count: int, seconds: float = 60) -> None:
        """Wait for ``count`` further answers."""
        wanted, deadline = len(self.told) + count, time.monotonic() + seconds
        while len(self.told) < wanted:
            assert time.monotonic() < deadline, f"{wanted - len(self.told)} of {count} answers are missing"
            time.sleep(0.05)

    def _chat(self, person: int) -> None:
        with httpx.Client(timeout=PATIENCE_SECONDS, headers=self._headers) as client:
            day = 0
            while not self._done.is_set():
                content = f"{STORY} What should person {person} write on day {day}?"
                self.told.append(self._ask(client, {**self._body, "messages": [{"role": "user", "content": content}]}))
                day += 1
                self._done.wait(self._pause_s)

    def _ask(self, client: httpx.Client, body: dict[str, Any]) -> Told:
        try:
            with client.stream("POST", self._url, json=body) as response:
                arm, text = response.headers.get(ARM_HEADER), ""
                self._speaking[arm] += 1
                try:
                    for part in response.iter_text():
                        text += part
                finally:
                    self._speaking[arm] -= 1
        except httpx.HTTPError as error:
            return Told(type(error).__name__, None, "", "no answer")
        return Told(str(response.status_code), arm, *_read(text))

    def __enter__(self) -> Chats:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def _read(text: str) -> tuple[str, str]:
    """(words, ending) of a stream."""
    words, ending = "", "cut off"
    for event in (part.removeprefix("data: ") for part in text.split("\n\n") if part):
        if event == "[DONE]":
            ending = event
            continue
        try:
            found = json.loads(event)
        except json.JSONDecodeError:
            return words, f"no event: {event[:100]}"
        if "error" in found:
            ending = str(found["error"]["code"])
        words += "".join(choice["delta"].get("content") or "" for choice in found.get("choices", []))
    return words, ending
