"""Markdown (CommonMark with tables) to blocks of plain text; front matter gives the title."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assets.knowledge.documents.markup import html_blocks
from assets.knowledge.documents.parsed import Heading

if TYPE_CHECKING:
    from markdown_it.token import Token

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def markdown_blocks(text: str, where: str) -> tuple[str, list[Heading | str], list[str]]:
    """The front matter's title (empty when there is none), headings and paragraphs in order, and notes.

    Links and emphasis are read as their words. A list or a table is one paragraph, a row of a table one line, its
    cells divided by ``|``. HTML in it is read as HTML is: without scripts and what is hidden.
    """
    from markdown_it import MarkdownIt

    text, title, notes = _front_matter(text, where)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return title, list(_blocks(tokens)), notes


def _front_matter(text: str, where: str) -> tuple[str, str, list[str]]:
    import yaml

    found = FRONT_MATTER.match(text)
    if not found:
        return text, "", []
    try:
        fields = yaml.safe_load(found.group(1))
    except yaml.YAMLError:
        return text[found.end() :], "", [f"{where}: its front matter is no YAML and was not read"]
    title = fields.get("title") if isinstance(fields, dict) else None
    return text[found.end() :], str(title).strip() if title is not None else "", []


def _blocks(tokens: list[Token]) -> Iterator[Heading | str]:
    lines: list[str] = []  # of the outermost block that is being read
    cells: list[str] = []
    items: list[int] = []  # where the open items of lists begin
    opened = heading = ""
    for token in tokens:
        if token.type == "html_block":
            blocks = html_blocks(token.content)[1]
            # A heading written in HTML counts as one only where Markdown's would.
            lines += [block for block in blocks if isinstance(block, str)] if token.level else []
            if not token.level:
                yield from blocks
        elif token.type in ("fence", "code_block"):
            lines += token.content.rstrip("\n").split("\n")
        elif token.type == "inline":
            words = _words(token)
            if opened == "heading_open":
                yield Heading(int(heading[1:]), " ".join(words.split()))
            elif opened == "table_open":
                cells.append(" ".join(words.split()))
            else:
                lines.append(words)
        elif token.type == "tr_close":
            lines.append(" | ".join(cells))
            cells = []
        elif token.type == "list_item_open":
            items.append(len(lines))
        elif token.type == "list_item_close":
            begin = items.pop()
            if begin < len(lines):
                lines[begin] = f"- {lines[begin]}"
        if token.level == 0 and token.nesting == 1:
            opened, heading = token.type, token.tag
        if token.level == 0 and token.nesting < 1:
            if lines:
                yield "\n".join(lines)
            lines, opened = [], ""


def _words(token: Token) -> str:
    """An inline token's text without its markup."""
    parts = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(child.content)
    return "".join(parts)
