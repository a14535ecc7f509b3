"""The errors that Clearway raises for people to read."""

from __future__ import annotations


class ClearwayError(Exception):
    """Something a user can act on: what failed, what was left untouched, what to do next.

    The three sentences are kept apart so that a log line, an HTTP answer and the Dagster UI can each show them
    in their own form; ``str(error)`` joins them.
    """

    def __init__(self, what: str, *, untouched: str | None = None, todo: str | None = None) -> None:
        self.what = what
        self.untouched = untouched
        self.todo = todo
        parts = [what]
        if untouched:
            parts.append(f"Left untouched: {untouched}")
        if todo:
            parts.append(f"What to do: {todo}")
        super().__init__("\n".join(parts))


class DeclarationError(ClearwayError):
    """A declared file does not say what its schema expects."""


class SettingsError(ClearwayError):
    """A profile's settings are incomplete or contradict each other."""
