"""Documents to passages: what is embedded, searched and cited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from assets.knowledge.documents.chunk import Count, chunks
from assets.knowledge.documents.collect import Problem
from assets.knowledge.documents.document import Document
from serving.errors import ClearwayError
from serving.retrieval.elements import Passage

LONGEST_TITLE = 300
DASH = " – "


@dataclass(frozen=True)
class Passages:
    """The passages of many documents, and the documents that have none because they are too long."""

    passages: tuple[Passage, ...]
    problems: tuple[Problem, ...]


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


def every_passage(documents: Iterable[Document], count: Count) -> Passages:
    """The passages of all documents; one that is too long is a problem and leaves the others."""
    found: list[Passage] = []
    problems = []
    for document in documents:
        try:
            found += passages(document, count)
        except ClearwayError as error:
            problems.append(Problem(document.file, str(error), document.uid))
    return Passages(tuple(found), tuple(problems))
