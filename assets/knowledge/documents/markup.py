"""HTML to headings and paragraphs of visible text: scripts, styles, comments and what is hidden are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assets.knowledge.documents.parsed import Heading
from assets.knowledge.documents.tags import BLOCKS, ROWS, pieces

LEVELS = {f"h{level}": level for level in range(1, 7)}
CELLS = ("td", "th")
CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
SPACE = re.compile(r"\s+")


def declared_charset(content: bytes) -> str | None:
    """The encoding that an HTML file declares in its first 2,048 bytes."""
    found = CHARSET.search(content[:2048])
    return found.group(1).decode() if found else None


def html_blocks(text: str) -> tuple[str, list[Heading | str]]:
    """The title (empty when there is none) and the headings and paragraphs of an HTML text, in order.

    A table is one paragraph, a row of it one line, its cells divided by ``|``.
    """
    reading = _Reading()
    blocks: list[Heading | str] = []
    for piece in pieces(text):
        if piece.kind == "text":
            reading.line.append(piece.value)
        else:
            blocks += reading.started(piece.value) if piece.kind == "start" else reading.ended(piece.value)
    blocks += reading.flushed()
    return reading.title, blocks


class _Reading:
    """What was read and belongs to no block yet."""

    def __init__(self) -> None:
        self.title = ""
        self.line: list[str] = []
        self.rows: list[str] = []
        self.tables = 0
        self.preformatted = 0

    def flushed(self, level: int | None = None) -> Iterator[Heading | str]:
        text = "".join(self.line)
        self.line.clear()
        words = text.strip("\n") if self.preformatted else SPACE.sub(" ", text).strip(" |")
        if words.strip(" -"):
            yield words if level is None else Heading(level, SPACE.sub(" ", words))

    def started(self, name: str) -> Iterator[Heading | str]:
        if name == "br":
            self.line.append("\n")
        elif name == "title" or (name in BLOCKS and not self.tables):
            yield from self.flushed()
            if name == "li":
                self.line.append("- ")
        self.tables += name == "table"
        self.preformatted += name == "pre"

    def ended(self, name: str) -> Iterator[Heading | str]:
        if name == "title":
            self.title = self.title or " ".join(str(words) for words in self.flushed())
        elif name == "table":
            self.rows += [str(row) for row in self.flushed()]
            self.tables -= 1
            if not self.tables and self.rows:
                yield "\n".join(self.rows)
                self.rows = []
        elif self.tables:
            self.line.append(" | " if name in CELLS else " " if name in BLOCKS else "")
            if name in ROWS or name == "caption":
                self.rows += [str(row) for row in self.flushed()]
        elif name in BLOCKS:
            yield from self.flushed(LEVELS.get(name))
        self.preformatted -= name == "pre"
