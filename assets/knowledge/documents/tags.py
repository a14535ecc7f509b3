"""HTML text to a stream of starts, ends and visible words, in time linear in the text, whatever is wrong with it.

Ends that a writer may leave out are supplied, and what a reader does not see is left out (WHATWG, HTML Standard,
sections 13.1.2.4 "Optional tags" and 13.2.5 "Tokenization"). No tree is kept, so nesting has no limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Literal

RAW = {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"}
UNSEEN = {
    "script", "style", "noscript", "template", "iframe", "object", "svg", "canvas", "datalist", "audio", "video",
    "textarea", "noembed", "noframes", "math",
}  # fmt: skip
VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
}  # fmt: skip
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hgroup", "hr", "li", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "summary", "table", "ul",
}  # fmt: skip
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
CELLS = {"td", "th", "caption"}
ROWS = {"tr", "tbody", "thead", "tfoot"}
# What a start ends, and the element that its reach stops at.
ENDS: dict[str, tuple[set[str], set[str]]] = {
    "li": ({"li"}, {"ul", "ol", "menu", "dir"}),
    "dt": ({"dt", "dd"}, {"dl"}),
    "dd": ({"dt", "dd"}, {"dl"}),
    "option": ({"option"}, {"select"}),
    "td": ({"td", "th"}, {"table"}),
    "th": ({"td", "th"}, {"table"}),
    **{name: ({"td", "th", *ROWS} if name != "tr" else {"td", "th", "tr"}, {"table"}) for name in ROWS},
    "body": ({"head"}, {"html"}),
}
HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
# Possessive quantifiers: nothing is tried twice.
QUOTED = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)((?:[^>\"']|\"[^\"]*+\"|'[^']*+')*+)>")
PLAIN = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)([^>]*+)>")
ATTRIBUTE = re.compile(r"([^\s=/>\"']+)(?:\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s>]*))?")


@dataclass(frozen=True, slots=True)
class Piece:
    """A start or an end of an element, by its name, or visible text."""

    kind: Literal["start", "end", "text"]
    value: str


@dataclass(slots=True)
class _Open:
    name: str
    hidden: bool


def pieces(text: str) -> Iterator[Piece]:
    """The visible pieces of an HTML text, in order; the words of ``title`` are among them."""
    opened: list[_Open] = []
    for kind, name, rest in _tokens(text):
        hidden = bool(opened) and opened[-1].hidden
        if kind == "text":
            if not hidden and name:
                yield Piece("text", unescape(name))
        elif kind == "end":
            yield from _ended(opened, name)
        else:
            yield from _implied(opened, name)
            hidden = (bool(opened) and opened[-1].hidden) or name in UNSEEN or _hides(rest)
            if not hidden:
                yield Piece("start", name)
            if name not in VOID:
                opened.append(_Open(name, hidden))
    yield from _closed(opened, 0)


def _tokens(text: str) -> Iterator[tuple[str, str, str]]:
    """Starts and ends by name, with the attributes as they are written, and texts."""
    position, tag = 0, QUOTED
    while True:
        start = text.find("<", position)
        if start < 0:
            yield "text", text[position:], ""
            return
        yield "text", text[position:start], ""
        if text.startswith(("<!", "<?"), start):
            position = _past(text, "-->" if text.startswith("<!--", start) else ">", start + 2)
            continue
        if not (text[start + 1 : start + 2].isalpha() or text[start + 1 : start + 2] == "/"):
            yield "text", "<", ""
            position = start + 1
            continue
        found = tag.match(text, start)
        if found is None and tag is QUOTED:
            # A quote that nothing ends: from here on a tag ends at the next ">", so that none is looked at twice.
            tag = PLAIN
            found = tag.match(text, start)
        if found is None:
            position = _past(text, ">", start)
            continue
        name, position = found.group(2).lower(), found.end()
        if found.group(1):
            yield "end", name, ""
            continue
        yield "start", name, found.group(3)
        if name in RAW:
            end = re.compile(rf"</{re.escape(name)}(?![a-z0-9])", re.IGNORECASE).search(text, position)
            stop = end.start() if end else len(text)
            yield "text", text[position:stop], ""
            position = stop


def _past(text: str, end: str, position: int) -> int:
    found = text.find(end, position)
    return len(text) if found < 0 else found + len(end)


def _hides(attributes: str) -> bool:
    if not attributes.strip(" /"):
        return False
    for found in ATTRIBUTE.finditer(attributes):
        name, value = found.group(1).lower(), (found.group(2) or "").strip("\"'")
        if (
            name == "hidden"
            or (name == "aria-hidden" and value.lower() == "true")
            or (name == "style" and HIDING.search(unescape(value)))
        ):
            return True
    return False


def _implied(opened: list[_Open], name: str) -> Iterator[Piece]:
    """Ends what a start of ``name`` ends."""
    if name in HEADINGS and opened and opened[-1].name in HEADINGS:
        yield from _closed(opened, len(opened) - 1)
    if name in BLOCKS:
        yield from _closed(opened, _place(opened, {"p"}, BLOCKS - {"p"} | CELLS))
    if name in ENDS:
        yield from _closed(opened, _place(opened, *ENDS[name]))


def _place(opened: list[_Open], ends: set[str], stops: set[str]) -> int:
    """Of the outermost element of ``ends`` within the innermost of ``stops``; the end when there is none."""
    place = len(opened)
    for index in range(len(opened) - 1, max(-1, len(opened) - 50), -1):
        if opened[index].name in stops:
            break
        if opened[index].name in ends:
            place = index
    return place


def _ended(opened: list[_Open], name: str) -> Iterator[Piece]:
    """Ends the innermost open element of this name; an end without a start is none."""
    # No deeper than a page is nested: an end that matches nothing must not look through everything.
    for index in range(len(opened) - 1, max(-1, len(opened) - 500), -1):
        if opened[index].name == name:
            yield from _closed(opened, index)
            return


def _closed(opened: list[_Open], down_to: int) -> Iterator[Piece]:
    while len(opened) > down_to:
        last = opened.pop()
        if not last.hidden:
            yield Piece("end", last.name)
