"""Bearer keys: made here, kept as hashes, looked up by hash.

``python -m serving.gateway.keys create --id NAME --scope predict`` prints a new key once; it cannot be shown again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError
from serving.retrieval.access import EVERYTHING, joined
from serving.settings import Settings, get_settings

SCOPES = ("predict", "read", "operate", "feed")
IDENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")


@dataclass(frozen=True)
class Caller:
    """Who a key belongs to, what it may do, and how much a minute of language models; None is no limit.

    ``labels`` are those of knowledge that it sees beside what has none; ``*`` sees everything.
    """

    id: str
    scopes: frozenset[str]
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    labels: frozenset[str] = frozenset()

    @property
    def sees_everything(self) -> bool:
        return EVERYTHING in self.labels


def _digest(key: str) -> str:
    # Keys are 256 random bits: there is nothing to guess, so a plain hash is enough.
    return hashlib.sha256(key.encode()).hexdigest()


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text())
        return list(content["keys"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClearwayError(
            f"the key file {file} cannot be read: {error}",
            untouched="the file; nobody is let in meanwhile.",
            todo="restore it, or move it away and make new keys.",
        ) from error


def create_key(
    ident: str,
    scopes: Sequence[str],
    settings: Settings | None = None,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    labels: Sequence[str] = (),
) -> str:
    """Make a key, keep its hash, return the key itself: it exists nowhere else.

    Args:
        labels: of knowledge that it sees; ``*`` for everything.
        requests_per_minute: requests to language models; None is no limit.
        tokens_per_minute: their tokens, of prompts and answers together.

    Raises:
        ClearwayError: the id is taken or malformed, a scope is unknown, a label malformed, or a limit is below 1.
    """
    joined(label for label in labels if label != EVERYTHING)
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
    wrong = [
        f"{name} is {value}, expected at least 1" for name, value in limits.items() if value is not None and value < 1
    ]
    if wrong:
        raise ClearwayError(f"key {ident!r}: {'; '.join(wrong)}", untouched="all keys.")
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ClearwayError(f"unknown scopes {unknown}; expected at least one of {', '.join(SCOPES)}")
    if not IDENT.match(ident):
        raise ClearwayError(f"key id {ident!r}: expected letters, digits, '.', '_', '@' or '-', at most 64")
    file = (settings or get_settings()).keys_file
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_name(f".{file.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = _read(file)
        if any(key["id"] == ident for key in keys):
            raise ClearwayError(f"there is a key {ident!r} already", untouched="it.", todo="take another id.")
        key = f"cw_{secrets.token_urlsafe(32)}"
        made = {
            "id": ident,
            "sha256": _digest(key),
            "scopes": sorted(set(scopes)),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: value for name, value in limits.items() if value is not None},
            **({"labels": sorted(set(labels))} if labels else {}),
        }
        aside = file.with_name(f".{file.name}.new")
        aside.unlink(missing_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            json.dump({"keys": [*keys, made]}, handle, indent=1)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, file)
    return key


def key_ids(settings: Settings | None = None) -> list[str]:
    """Ids of all keys there are."""
    return [str(key["id"]) for key in _read((settings or get_settings()).keys_file)]


def _caller(item: dict[str, Any]) -> Caller:
    return Caller(
        str(item["id"]),
        frozenset(item["scopes"]),
        item.get("requests_per_minute"),
        item.get("tokens_per_minute"),
        frozenset(item.get("labels", ())),
    )


class KeyRing:
    """Finds the caller of a key; reads the file again when it changes."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.keys_file
        self._mark: tuple[int, int] | None = None
        self._callers: dict[str, Caller] = {}

    def caller(self, key: str) -> Caller | None:
        """The caller, or None when nobody has this key. Raises ClearwayError when the file is broken."""
        try:
            stat = self._file.stat()
            mark = (stat.st_ino, stat.st_mtime_ns)
        except FileNotFoundError:
            self._callers, self._mark = {}, None
            return None
        if mark != self._mark:
            self._callers = {str(item["sha256"]): _caller(item) for item in _read(self._file)}
            self._mark = mark
        return self._callers.get(_digest(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it once")
    create.add_argument("--id", required=True)
    create.add_argument("--scope", required=True, action="append", choices=SCOPES)
    create.add_argument("--requests-per-minute", type=int, help="to language models; default: no limit")
    create.add_argument("--tokens-per-minute", type=int, help="of language models; default: no limit")
    create.add_argument("--label", action="append", default=[], help="of knowledge that it sees; * for everything")
    commands.add_parser("list", help="ids of the keys there are")
    options = parser.parse_args()
    try:
        if options.command == "create":
            limits = {
                "requests_per_minute": options.requests_per_minute,
                "tokens_per_minute": options.tokens_per_minute,
            }
            print(create_key(options.id, options.scope, **limits, labels=options.label))
        else:
            print("\n".join(key_ids()))
    except ClearwayError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
