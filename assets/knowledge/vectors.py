"""Brings one collection of passages to what is wanted; each text is embedded once, whatever became of its passage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.knowledge.cache import Cache
from serving.faults import boundary
from serving.retrieval.elements import Passage, digest
from serving.retrieval.embedding import DIMENSION, Embedder
from serving.retrieval.vectors import Row, Vectors

BATCH = 256


@dataclass
class Brought:
    """What a load did, in passages."""

    written: int = 0
    removed: int = 0
    embedded: int = 0


def text_of(passage: Passage) -> str:
    """What of a passage is searched: its title and its text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def row_digest(passage: Passage, model: str) -> str:
    return digest(model, passage.document, passage.title, passage.text, passage.access)


class Embedded:
    """Vectors by text and model, kept in a file."""

    def __init__(self, file: Path, model: Embedder) -> None:
        self._cache, self.model = Cache(file), model

    def close(self) -> None:
        self._cache.close()

    def retain(self, texts: Sequence[str]) -> None:
        """Forget all other texts: what was removed is not kept here either.

        Raises:
            ClearwayError: the file cannot be written.
        """
        self._cache.retain([digest(self.model.name, text) for text in texts])

    def vectors(self, texts: Sequence[str], done: Brought) -> NDArray[np.float32]:
        """Shape (texts, 384).

        Raises:
            ClearwayError: the file cannot be written.
        """
        keys = [digest(self.model.name, text) for text in texts]
        found = {key: vector for key, vector in self._cache.get(keys).items() if len(vector) == 4 * DIMENSION}
        missing = [i for i, key in enumerate(keys) if key not in found]
        if missing:
            made = self.model.passages([texts[i] for i in missing])
            new = {keys[i]: made[j].astype(np.float32).tobytes() for j, i in enumerate(missing)}
            self._cache.put(new)
            found.update(new)
            done.embedded += len(missing)
        return np.frombuffer(b"".join(found[key] for key in keys), np.float32).reshape(len(keys), DIMENSION)


def bring(
    collection: Vectors, passages: Sequence[Passage], cache: Embedded, tell: Callable[[str], None] = lambda _: None
) -> Brought:
    """Make a collection hold exactly ``passages``.

    Raises:
        ClearwayError: the server or the disk fails; the next call begins with what is missing.
    """
    collection.make()
    held = collection.held()
    wanted = {passage.uid: row_digest(passage, cache.model.name) for passage in passages}
    done = Brought()
    stale = [uid for uid in held if uid not in wanted]
    collection.remove(stale)
    done.removed = len(stale)
    boundary("vectors:removed")
    new = [passage for passage in passages if held.get(passage.uid) != wanted[passage.uid]]
    for start in range(0, len(new), BATCH):
        some = new[start : start + BATCH]
        vectors = cache.vectors([text_of(passage) for passage in some], done)
        collection.put(
            [
                Row(p.uid, p.document, text_of(p), p.access, wanted[p.uid], vector)
                for p, vector in zip(some, vectors, strict=True)
            ]
        )
        done.written += len(some)
        boundary("vectors:batch")
        if (start // BATCH) % 4 == 3:
            tell(f"{done.written} of {len(new)} passages written")
    collection.settle()
    cache.retain([text_of(passage) for passage in passages])
    return done
