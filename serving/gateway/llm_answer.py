"""Reads an answer of a language model as it goes by: its text, its tokens, when they came; and judges it at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class Answer:
    """What one answer was, from events of a stream or from a whole body.

    Attributes:
        started: ``time.perf_counter()`` when the request was sent.
        first, last: the same clock when the first and the last token came; None before, or when it was no stream.
    """

    started: float
    text: list[str] = field(default_factory=list)
    arguments: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    finish_reason: str | None = None
    refused_in_words: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first: float | None = None
    last: float | None = None

    def read_event(self, event: dict[str, Any]) -> None:
        """Take in one event of a stream."""
        self._usage(event)
        for choice in event.get("choices") or ():
            delta = choice.get("delta")
            content = delta if isinstance(delta, dict) else choice
            if self._content(content):
                self.last = time.perf_counter()
                self.first = self.first or self.last
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def read_body(self, body: dict[str, Any]) -> None:
        """Take in a whole answer."""
        self._usage(body)
        for choice in body.get("choices") or ():
            message = choice.get("message")
            self._content(message if isinstance(message, dict) else choice)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _usage(self, content: dict[str, Any]) -> None:
        usage = content.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or 0)

    def _content(self, content: dict[str, Any]) -> bool:
        """Keep what was said; whether something was."""
        said = content.get("content") or content.get("text") or content.get("reasoning") or ""
        if content.get("refusal"):
            self.refused_in_words = True
        if isinstance(said, str) and said:
            self.text.append(said)
        calls = content.get("tool_calls") or ()
        for position, call in enumerate(calls):
            function = call.get("function") or {}
            name, parts = self.arguments.setdefault(int(call.get("index", position)), ("", []))
            parts.append(function.get("arguments") or "")
            self.arguments[int(call.get("index", position))] = (function.get("name") or name, parts)
        return bool(said or calls)

    @property
    def ttft_ms(self) -> float | None:
        """From sending to the first token, in ms; None when it was no stream."""
        return None if self.first is None else (self.first - self.started) * 1000

    @property
    def inter_token_ms(self) -> float | None:
        """Mean time between tokens, in ms; None below two tokens."""
        if self.first is None or self.last is None or self.completion_tokens < 2:
            return None
        return (self.last - self.first) * 1000 / (self.completion_tokens - 1)

    @property
    def whole(self) -> str:
        """All that was said, calls of tools included."""
        calls = (f"{name}{''.join(parts)}" for _, (name, parts) in sorted(self.arguments.items()))
        return "\n".join(["".join(self.text), *calls])

    def refusal(self, phrases: Sequence[str]) -> bool:
        """Whether the model declined: it says so by the protocol, was filtered, or begins with a declared phrase."""
        if self.refused_in_words or self.finish_reason == "content_filter":
            return True
        start = "".join(self.text)[:200].lstrip().lower().replace("’", "'")
        return any(start.startswith(phrase.lower()) for phrase in phrases)

    def invalid(self, request: dict[str, Any]) -> bool | None:
        """Whether the answer breaks the form that the request asked for; None when it asked for none."""
        verdicts: list[bool | None] = []
        wanted = request.get("response_format")
        if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema") and not self.arguments:
            schema: Any = {"type": "object"}
            if wanted["type"] == "json_schema":
                schema = (wanted.get("json_schema") or {}).get("schema")
            verdicts.append(breaks("".join(self.text), schema))
        functions = {
            tool["function"].get("name"): tool["function"].get("parameters") or {}
            for tool in request.get("tools") or ()
            if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
        }
        for name, parts in self.arguments.values():
            verdicts.append(name not in functions or breaks("".join(parts), functions[name]))
        known = [verdict for verdict in verdicts if verdict is not None]
        return any(known) if known else None


def breaks(text: str, schema: Any) -> bool | None:
    """Whether ``text`` is not JSON of this schema; None when the schema itself is unsound."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return True
    try:
        Draft202012Validator.check_schema(schema)
        # The empty registry: a schema of a caller must not make this process fetch anything.
        return not Draft202012Validator(schema, registry=Registry()).is_valid(content)
    except (SchemaError, Unresolvable, RecursionError, TypeError):
        return None
