"""What is wanted of the knowledge, kept as one file: every store is brought to it, and compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson

from assets.knowledge.communities import KIND as COMMUNITY
from serving.errors import ClearwayError
from serving.retrieval.elements import Node, Part, Passage, Relation, digest
from serving.settings import Settings
from serving.whole import replace

CODE_VERSION = "3"
Profile = Literal["english", "multilingual"]
KEPT = 3


@dataclass(frozen=True)
class Wanted:
    """All parts of one version; ``embeddings`` names the profile by which its passages become vectors."""

    parts: tuple[Part, ...]
    embeddings: Profile

    @cached_property
    def version(self) -> str:
        parts = sorted((part.name, part.digest) for part in self.parts)
        return digest(CODE_VERSION, self.embeddings, parts)[:16]

    @property
    def nodes(self) -> Iterator[Node]:
        return (node for part in self.parts for node in part.nodes)

    @property
    def relations(self) -> Iterator[Relation]:
        return (one for part in self.parts for one in part.relations)

    @property
    def passages(self) -> Iterator[Passage]:
        return (passage for part in self.parts for passage in part.passages)

    @property
    def reports(self) -> Iterator[Passage]:
        """Those of communities."""
        return (passage for passage in self.passages if _reports(passage))

    @property
    def embedded(self) -> Iterator[Passage]:
        """Passages that have vectors: all but reports.

        Reports are lists of names, are found by them, and would be among the nearest instead of what documents say.
        """
        return (passage for passage in self.passages if not _reports(passage))

    @property
    def accesses(self) -> tuple[str, ...]:
        """Every access in use, the empty one included."""
        found = {one.access for one in self.nodes} | {one.access for one in self.relations}
        return tuple(sorted({"", *found, *(one.access for one in self.passages)}))

    def counts(self) -> dict[str, int]:
        return {
            "parts": len(self.parts),
            "nodes": sum(len(part.nodes) for part in self.parts),
            "relations": sum(len(part.relations) for part in self.parts),
            "passages": sum(len(part.passages) for part in self.parts),
        }


def _reports(passage: Passage) -> bool:
    return passage.document.startswith(f"{COMMUNITY}:")


def _folder(settings: Settings) -> Path:
    return settings.knowledge / "staged"


def keep(wanted: Wanted, settings: Settings) -> Path:
    """Write what is wanted, and make it the newest; older files than the last few are removed."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{wanted.version}.jsonl"
    if not file.exists():
        replace(file, _lines(wanted))
    replace(folder / "newest", [wanted.version.encode()])
    old = sorted(folder.glob("*.jsonl"), key=lambda f: f.stat().st_mtime)
    for one in old[:-KEPT]:
        if one != file:
            one.unlink(missing_ok=True)
    return file


def _lines(wanted: Wanted) -> Iterator[bytes]:
    head = {"version": wanted.version, "embeddings": wanted.embeddings, "parts": len(wanted.parts)}
    yield orjson.dumps(head) + b"\n"
    for part in wanted.parts:
        rows = {"nodes": part.nodes, "relations": part.relations, "passages": part.passages}
        yield orjson.dumps({"name": part.name, **rows}) + b"\n"


def newest(settings: Settings) -> Wanted:
    """What was wanted last.

    Raises:
        ClearwayError: nothing was, or the file is broken.
    """
    folder = _folder(settings)
    try:
        return read(folder / f"{(folder / 'newest').read_text().strip()}.jsonl")
    except FileNotFoundError as error:
        raise ClearwayError(
            f"{error.filename}: nothing is staged yet", untouched="what is published.", todo="make knowledge"
        ) from error


def of_version(version: str, settings: Settings) -> Wanted:
    """What a version was made of.

    Raises:
        ClearwayError: its file is gone or broken.
    """
    file = _folder(settings) / f"{version}.jsonl"
    try:
        return read(file)
    except FileNotFoundError as error:
        raise ClearwayError(f"{file} is gone", untouched="what is published.", todo="make knowledge") from error


def read(file: Path) -> Wanted:
    """One file of :func:`keep`.

    Raises:
        ClearwayError: it is not whole.
    """
    try:
        with open(file, "rb") as handle:
            head = orjson.loads(handle.readline())
            parts = tuple(_part(orjson.loads(line)) for line in handle)
        wanted = Wanted(parts, head["embeddings"])
        whole = len(parts) == head["parts"] and wanted.version == head["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _broken(file, str(error)) from error
    if not whole:
        raise _broken(file, "its content is not of its version")
    return wanted


def _broken(file: Path, why: str) -> ClearwayError:
    return ClearwayError(
        f"{file} is broken: {why}", untouched="what is published.", todo="remove it and run again: make knowledge"
    )


def _part(row: dict[str, Any]) -> Part:
    return Part(
        row["name"],
        tuple(Node(**{**n, "aliases": tuple(n["aliases"])}) for n in row["nodes"]),
        tuple(Relation(**r) for r in row["relations"]),
        tuple(Passage(**{**p, "mentions": tuple(p["mentions"])}) for p in row["passages"]),
    )


def unique(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts in the order of their names, which are each of one part.

    Raises:
        ClearwayError: two parts have one name.
    """
    names = [part.name for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise ClearwayError(f"parts {', '.join(twice)} exist twice", untouched="what is published.")
    return tuple(sorted(parts, key=lambda part: part.name))
