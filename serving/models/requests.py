"""Checks a prediction request against the schema inside the version, and says what is wrong, where."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from serving.models.spec import ModelSpec, RequestField

MAX_TEXT = 256
MAX_REQUESTS = 1000
REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
RESERVED = "request_id"
INT64 = 2**63


class RequestError(Exception):
    """A request that cannot be answered: ``index`` in the list, ``field``, and the reason in words."""

    def __init__(self, index: int | None, field: str | None, reason: str) -> None:
        self.index, self.field, self.reason = index, field, reason
        where = [] if index is None else [f"request {index}"]
        super().__init__(": ".join([*where, *([] if field is None else [f"field '{field}'"]), reason]))


def _timestamp(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("expected a timestamp as ISO 8601 text with an offset, such as 2024-05-01T12:00:00Z")
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{value[:40]!r} is no ISO 8601 timestamp") from error
    if at.tzinfo is None:
        raise ValueError(f"{value[:40]!r} has no offset from UTC; write Z or +hh:mm")
    if not 1900 <= at.year <= 2200:
        raise ValueError(f"{value[:40]!r} is not between the years 1900 and 2200")
    return at.astimezone(UTC)


def _plain(field: RequestField, value: Any) -> Any:
    kind = field.type
    if kind == "timestamp":
        return _timestamp(value)
    if kind == "string" and isinstance(value, str):
        if not value.strip():
            raise ValueError("expected text, got an empty one")
        if len(value) > MAX_TEXT or "\x00" in value:
            raise ValueError(f"expected at most {MAX_TEXT} characters without NUL")
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and -INT64 <= value < INT64:
        return value
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"expected {'an' if kind == 'integer' else 'a'} {kind}, got {type(value).__name__} {value!r:.40}")


class RequestReader:
    """Reads raw JSON objects into typed rows by a spec's request schema."""

    def __init__(self, spec: ModelSpec) -> None:
        self._fields = spec.request
        self._names = {f.name for f in spec.request}
        self._values = {f.name: frozenset(f.values) for f in spec.request if f.values is not None}

    def read(self, raw: Any, ignored: Collection[str] = ()) -> list[dict[str, Any]]:
        """Typed rows of the list of raw requests, timestamps as UTC datetimes, absent optional fields left out.

        Args:
            ignored: fields that a version which is being tried takes: here they are passed over.

        Raises:
            RequestError: the first thing that is wrong.
        """
        if not isinstance(raw, list) or not raw:
            raise RequestError(None, "requests", "expected a list of at least one request")
        if len(raw) > MAX_REQUESTS:
            raise RequestError(None, "requests", f"{len(raw)} requests in one call, at most {MAX_REQUESTS} are taken")
        return [self._row(index, item, ignored) for index, item in enumerate(raw)]

    def _row(self, index: int, item: Any, ignored: Collection[str]) -> dict[str, Any]:
        if not isinstance(item, Mapping):
            raise RequestError(index, None, f"expected an object, got {type(item).__name__}")
        for name in item:
            if name not in self._names and name != RESERVED and name not in ignored:
                known = ", ".join(f.name for f in self._fields)
                raise RequestError(index, str(name)[:64], f"is not a field of this model; the fields are {known}")
        row: dict[str, Any] = {}
        for field in self._fields:
            value = item.get(field.name)
            if value is None:
                if field.required:
                    raise RequestError(index, field.name, f"is missing; it is a required {field.type}")
                continue
            try:
                row[field.name] = _plain(field, value)
            except ValueError as error:
                raise RequestError(index, field.name, str(error)) from error
            allowed = self._values.get(field.name)
            if allowed is not None and value not in allowed:
                listed = ", ".join(map(str, (field.values or [])[:20])) + (", ..." if len(allowed) > 20 else "")
                raise RequestError(index, field.name, f"{value!r:.40} is unknown; known values are {listed}")
        given = item.get(RESERVED)
        if given is not None:
            if not isinstance(given, str) or not REQUEST_ID.match(given):
                raise RequestError(index, RESERVED, "expected 1 to 128 letters, digits, '.', '_', ':' or '-'")
            row[RESERVED] = given
        return row
