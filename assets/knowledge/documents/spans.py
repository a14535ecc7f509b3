"""Where the paragraphs, sentences and words of a text begin and end, one after another, in time linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]
LONGEST_WORD = 500
BREAK = re.compile(r"\n[ \t]*\n\s*")
# Scripts that write no spaces: Japanese and Chinese, Thai and Lao, Burmese, Khmer. A few characters count as a word.
SPACELESS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
WORD = re.compile(rf"[{SPACELESS}]{{1,4}}|[^\s{SPACELESS}]{{1,{LONGEST_WORD}}}")
# A sentence ends at a full stop before a space and what may begin one (in Chinese and Japanese no space follows), and
# at a line's end when the next one is not its continuation. Repetitions are bounded: a line of dots is a line.
BEGIN = r"(?=[\"'“‘(\[]{0,4}[^\Wa-z_])"
ENDS = re.compile(
    r"\n(?=[ \t]{0,40}(?:[-*•|#>]|[\"'“‘(\[]{0,4}[^\Wa-z_])|[^\n|]{0,200} \| )"
    rf"|(?<![.!?…])[.!?…]{{1,40}}[\"'”’)\]]{{0,4}}[ \t]+{BEGIN}"
    r"|[。！？]+[」』”’）]*"
)
# What has a full stop without an end: titles, initials, and the like.
SHORT = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nr|Inc|Ltd|Co|Corp|Jr|Sr|vs|e\.g|i\.e|cf|approx|Fig|Sec|Capt|Lt|Gen)\.$"
)


def paragraphs(text: str) -> Iterator[Span]:
    """What empty lines divide."""
    begin = 0
    for found in BREAK.finditer(text):
        yield from _stripped(text, begin, found.start())
        begin = found.end()
    yield from _stripped(text, begin, len(text))


def sentences(text: str, span: Span) -> Iterator[Span]:
    """The sentences of a paragraph; a line of a list or table counts as one."""
    begin = span[0]
    for found in ENDS.finditer(text, *span):
        if found.group().startswith(".") and SHORT.search(text[max(begin, found.start() - 8) : found.start() + 1]):
            continue
        yield from _stripped(text, begin, found.end())
        begin = found.end()
    yield from _stripped(text, begin, span[1])


def words(text: str, span: Span) -> Iterator[Span]:
    """What spaces divide; more than ``LONGEST_WORD`` characters without one are cut, and scripts that have none."""
    for found in WORD.finditer(text, *span):
        yield found.span()


def _stripped(text: str, begin: int, end: int) -> Iterator[Span]:
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    if begin < end:
        yield begin, end
