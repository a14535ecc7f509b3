"""The RDF of a version as a file and as a store, made from those of the version before by what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from assets.knowledge.ontology.rdf import Terms, quads
from assets.knowledge.ontology.vocabulary import Vocabulary
from serving.errors import ClearwayError
from serving.retrieval import sparql
from serving.retrieval.elements import Part, digest

QUADS, CONTENTS = "graph.nq", "graph.json"
CODE_VERSION = "1"
# Beyond this share of all quads, and after so many changed stores, one made anew is no slower and is compact.
MOST_CHANGED, MOST_DERIVED = 0.3, 20


class Slice(NamedTuple):
    """Where a part is in the file, in bytes, and of what it was made."""

    digest: str
    start: int
    length: int


class Contents(NamedTuple):
    """What a folder's file has, part by part, and how many versions ago its store was made as a whole."""

    words: str
    derived: int
    quads: int
    parts: Mapping[str, Slice]


def build(parts: Sequence[Part], words: Vocabulary, folder: Path, before: Path | None = None) -> int:
    """Write N-Quads and their store into a folder that has neither; gives the number of quads.

    Args:
        before: the folder of an earlier version. Parts that it has are copied, and its store is changed, which gives
            the same quads in a fraction of the time. One that is broken or in other terms is not used.

    Raises:
        ClearwayError: the disk refuses it.
    """
    terms = digest(CODE_VERSION, words.kinds, words.predicates)
    held = _contents(before, terms) if before is not None else None
    try:
        contents, gone, new = _write(parts, words, folder, before if held is not None else None, held)
    except OSError as error:
        with suppress(OSError):
            (folder / QUADS).unlink()
        raise ClearwayError(
            f"{folder / QUADS} cannot be written: {error}",
            untouched="what is published.",
            todo="free the disk and run again.",
        ) from error
    derived = 0
    if before is not None and held is not None and held.derived < MOST_DERIVED:
        few = len(gone) + len(new) < MOST_CHANGED * contents.quads
        store, other = folder / sparql.STORE, before / sparql.STORE
        if few and sparql.derive(other, store, b"\n".join(gone), b"\n".join(new)):
            derived = held.derived + 1
    if not derived:
        sparql.build(folder / QUADS, folder / sparql.STORE)
    told = {"words": terms, "derived": derived, "quads": contents.quads, "parts": contents.parts}
    (folder / CONTENTS).write_bytes(orjson.dumps(told, default=list))
    return contents.quads


def _write(
    parts: Sequence[Part], words: Vocabulary, folder: Path, before: Path | None, held: Contents | None
) -> tuple[Contents, set[bytes], set[bytes]]:
    """The file, and the lines that are gone and new since the version before."""
    gone: set[bytes] = set()
    new: set[bytes] = set()
    made: dict[str, Slice] = {}
    known = dict(held.parts) if held is not None else {}
    terms, count = Terms(words), 0
    with open(folder / QUADS, "wb") as out, open((before or folder) / QUADS, "rb") as old:
        for part in parts:
            there = known.pop(part.name, None)
            if there is not None and there.digest == part.digest:
                text = _read(old, there)
            else:
                text = "".join(quads([part], words, terms)).encode()
                new.update(_lines(text))
                gone.update(_lines(_read(old, there)) if there is not None else ())
            made[part.name] = Slice(part.digest, out.tell(), len(text))
            count += text.count(b"\n")
            out.write(text)
        for there in known.values():
            gone.update(_lines(_read(old, there)))
    gone, new = gone - new, new - gone
    if gone:
        # A quad may be of several parts, of which one still says it.
        with open(folder / QUADS, "rb") as written:
            gone.difference_update(line.rstrip(b"\n") for line in written if line.rstrip(b"\n") in gone)
    return Contents("", 0, count, made), gone, new


def _read(file: BinaryIO, one: Slice) -> bytes:
    file.seek(one.start)
    return file.read(one.length)


def _lines(text: bytes) -> Iterator[bytes]:
    return (line for line in text.split(b"\n") if line)


def _contents(folder: Path, terms: str) -> Contents | None:
    """What an earlier version's file has; None where it cannot be gone on from."""
    try:
        found = Contents(**orjson.loads((folder / CONTENTS).read_bytes()))
        parts = {name: Slice(*one) for name, one in found.parts.items()}
        size = (folder / QUADS).stat().st_size
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    whole = sum(one.length for one in parts.values()) == size
    return found._replace(parts=parts) if found.words == terms and whole else None
