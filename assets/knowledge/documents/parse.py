"""A dropped file to a title and sections, by its suffix."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from assets.knowledge.documents.markdown import markdown_blocks
from assets.knowledge.documents.markup import declared_charset, html_blocks
from assets.knowledge.documents.parsed import Heading, Parsed, Section, sectioned, titled
from assets.knowledge.documents.pdf import pdf_sections
from assets.knowledge.documents.text import decode
from serving.errors import ClearwayError

SUFFIXES = (".md", ".markdown", ".txt", ".text", ".html", ".htm", ".pdf")
# By what takes seconds to parse; Markdown's parser keeps tokens some forty times as large as the text.
MAX_MARKUP_BYTES = {
    ".md": 4 * 1024 * 1024, ".markdown": 4 * 1024 * 1024, ".html": 8 * 1024 * 1024, ".htm": 8 * 1024 * 1024,
}  # fmt: skip
LONGEST_TITLE = 200


def parse(name: str, content: bytes) -> Parsed:
    """What a file says.

    Args:
        name: its path, for its suffix, for messages, and for the title of one that has no other.
        content: at most 64 MiB; of markup ``MAX_MARKUP_BYTES``.

    Raises:
        ClearwayError: the suffix is not one of ``SUFFIXES``, or the file is broken, encrypted, binary, too large, or
            has no text.
    """
    suffix = PurePosixPath(name).suffix.lower()
    title, sections, notes = "", tuple[Section, ...](), list[str]()
    if suffix == ".pdf":
        title, sections, notes = pdf_sections(content, name)
    elif suffix in MAX_MARKUP_BYTES:
        if len(content) > MAX_MARKUP_BYTES[suffix]:
            raise ClearwayError(
                f"{name}: {len(content) / 2**20:.0f} MiB of markup, and a document has at most "
                f"{MAX_MARKUP_BYTES[suffix] / 2**20:.0f} MiB",
                untouched="all other documents.",
                todo="split the file, or save it as text.",
            )
        title, sections, notes = _markup(name, content, html=suffix in (".html", ".htm"))
    elif suffix in (".txt", ".text"):
        text, notes = decode(content, name)
        sections = (Section((), text.strip()),) if text.strip() else ()
    else:
        raise ClearwayError(
            f"{name}: expected a file that ends in {', '.join(SUFFIXES)}",
            untouched="all other documents.",
            todo="convert it, or declare a table for it.",
        )
    if not sections:
        raise ClearwayError(
            f"{name}: there is no text in it", untouched="all other documents.", todo="take it away, or mend it."
        )
    title = re.sub(r"\s+", " ", title).strip()[:LONGEST_TITLE] or PurePosixPath(name).stem
    return Parsed(title, titled(sections, title), tuple(notes))


def _markup(name: str, content: bytes, *, html: bool) -> tuple[str, tuple[Section, ...], list[str]]:
    text, notes = decode(content, name, declared_charset(content) if html else None)
    more: list[str] = []
    if html:
        title, blocks = html_blocks(text)
    else:
        title, blocks, more = markdown_blocks(text, name)
    first = next((b.text for b in blocks if isinstance(b, Heading) and b.level == 1), "")
    return title or first, tuple(sectioned(blocks, name)), [*notes, *more]
