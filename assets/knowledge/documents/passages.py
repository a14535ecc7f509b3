"""Documents to passages: what is embedded, searched and cited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from assets.knowledge.documents.chunk import Count, chunks
from assets.knowledge.documents.document import Document
from serving.errors import ClearwayError
from serving.retrieval.elements import Passage

if TYPE_CHECKING:
    from assets.knowledge.cache import Cache

LONGEST_TITLE = 300
DASH = " – "


def passages(document: Document, count: Count) -> list[Passage]:
    """The passages of a document, in order, as its ``cut`` says; each has the document's access.

    Args:
        count: tokens of a text.

    Raises:
        ClearwayError: it has more than ``cut.max_passages``; the rest is not even cut.
    """
    cut = document.cut
    found = list(islice(chunks(document.sections, count, cut.size, cut.overlap), cut.max_passages + 1))
    if len(found) > cut.max_passages:
        raise ClearwayError(
            f"{document.file or document.uid}: more than {cut.max_passages:,} passages (chunk.max_passages)",
            untouched="all other documents.",
            todo=f"split the file, or raise chunk.max_passages of documents/{document.source}.yaml.",
        )
    return [
        Passage(
            uid=f"{document.uid}#{chunk.order}",
            document=document.uid,
            title=(f"{document.title}{DASH}{chunk.heading}" if chunk.heading else document.title)[:LONGEST_TITLE],
            text=chunk.text,
            order=chunk.order,
            access=document.access,
        )
        for chunk in found
    ]


def cut(
    documents: Sequence[Document], count: Count, cache: Cache | None = None
) -> Iterator[tuple[Document, list[Passage] | ClearwayError]]:
    """Each document with its passages, or with why it has none.

    Args:
        count: tokens of a text.
        cache: passages by the digest of their document; what it has of other documents is forgotten.
    """
    held = cache.get([document.digest for document in documents]) if cache is not None else {}
    new: dict[str, bytes] = {}
    for document in documents:
        if document.digest in held:
            yield document, [_kept(row) for row in orjson.loads(held[document.digest])]
            continue
        try:
            found = passages(document, count)
        except ClearwayError as error:
            yield document, error
            continue
        new[document.digest] = orjson.dumps([[p.uid, p.document, p.title, p.text, p.order, p.access] for p in found])
        yield document, found
    if cache is not None:
        cache.put(new)
        cache.retain([document.digest for document in documents])


def _kept(row: list[Any]) -> Passage:
    uid, document, title, text, order, access = row
    return Passage(uid, document, title, text, order, (), access)
