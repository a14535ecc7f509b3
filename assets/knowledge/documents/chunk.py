"""Sections to chunks: by structure first, then by paragraph, sentence and word; sizes in tokens.

A chunk is a slice of its section as it was written. Neighbouring sections of one parent that fit into a chunk together
are merged, each below its own heading. Consecutive chunks of a section overlap by whole sentences.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from assets.knowledge.documents.parsed import Parsed, Section
from assets.knowledge.documents.spans import Span, paragraphs, sentences, words

Count = Callable[[str], int]
LONGEST_HEADING = 200
# Characters a token at most, whatever is counted: stores bound what a chunk may hold, and so does the time to count it.
MOST_CHARACTERS = 32
PARENT, SIBLING = " > ", "; "


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a document: its place, the headings above it, and its text."""

    order: int
    heading: str
    text: str


def chunk(parsed: Parsed, count: Count, size: int = 200, overlap: int = 30) -> list[Chunk]:
    """All chunks of a document, in order; see :func:`chunks`."""
    return list(chunks(parsed.sections, count, size, overlap))


def chunks(sections: Iterable[Section], count: Count, size: int = 200, overlap: int = 30) -> Iterator[Chunk]:
    """The chunks of sections one after another, so that who has had enough of them may stop.

    Every word of every section is in one, in order. None is larger than ``size`` but one that is a single word;
    words of more than 500 characters, which no language has, are cut.

    Args:
        count: tokens of a text.
        size: tokens that a chunk has at most.
        overlap: tokens, at most, of the sentences at the end of a chunk that the next one of the same section repeats.

    Raises:
        ValueError: the overlap is not smaller than the size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"an overlap of at least 0 and below the size, got {overlap} of {size}")
    count, order = _bounded(count, size), 0
    for heading, text in _merged(sections, count, size):
        for begin, end in _packed(text, count, size, overlap):
            yield Chunk(order, heading, text[begin:end])
            order += 1


def _bounded(count: Count, size: int) -> Count:
    """The count of what can fit; what is longer than any chunk is not even counted."""

    def bounded(text: str) -> int:
        least = -(-len(text) // MOST_CHARACTERS)
        return least if least > size else max(least, count(text))

    return bounded


def _merged(sections: Iterable[Section], count: Count, size: int) -> Iterator[tuple[str, str]]:
    """Heading and text of each section, or of several small neighbours with one parent."""
    held: list[Section] = []
    text = ""
    for section in sections:
        if held and held[0].path and section.path and held[0].path[:-1] == section.path[:-1]:
            before = text if len(held) > 1 else _below(held[0])
            joined = f"{before}\n\n{_below(section)}"
            if count(joined) <= size:
                held.append(section)
                text = joined
                continue
        if held:
            yield _heading(held), text
        held, text = [section], section.text
    if held:
        yield _heading(held), text


def _below(section: Section) -> str:
    return f"{section.path[-1]}\n{section.text}"


def _heading(sections: list[Section]) -> str:
    *parents, _ = sections[0].path or ("",)
    own = SIBLING.join(dict.fromkeys(s.path[-1] for s in sections if s.path))
    return PARENT.join(part for part in (*parents, own) if part)[:LONGEST_HEADING]


def _packed(text: str, count: Count, size: int, overlap: int) -> Iterator[Span]:
    """Spans of the text that hold as many whole units as fit."""
    waiting: deque[tuple[Span, int]] = deque()
    units = _units(text, count, size)
    held: list[tuple[Span, int]] = []
    repeated: Span | None = None  # sentences of the chunk before, which do not count as held
    total = 0

    def taken() -> tuple[Span, int] | None:
        return waiting.popleft() if waiting else next(units, None)

    unit = taken()
    while unit is not None or held:
        if unit is not None and (not held or total + unit[1] <= size):
            if repeated is not None and not held:
                if count(text[repeated[0] : unit[0][1]]) <= size:
                    total = count(text[slice(*repeated)])
                else:
                    repeated = None
            held.append(unit)
            total += unit[1]
            unit = taken()
            continue
        # Tokens of parts need not add up to those of the whole: what is too large gives back its last units.
        begin = repeated[0] if repeated else held[0][0][0]
        while len(held) > 1 and count(text[begin : held[-1][0][1]]) > size:
            if unit is not None:
                waiting.appendleft(unit)
            unit = held.pop()
        end = held[-1][0][1]
        yield begin, end
        repeated = _last_sentences(text, (held[0][0][0], end), count, overlap) if unit is not None else None
        held, total = [], 0


def _units(text: str, count: Count, size: int) -> Iterator[tuple[Span, int]]:
    """Paragraphs, or where one is too large its sentences, or where one is too large runs of its words."""
    for paragraph in paragraphs(text):
        tokens = _counted(text, paragraph, count, size)
        if tokens is not None:
            yield paragraph, tokens
            continue
        for sentence in sentences(text, paragraph):
            tokens = _counted(text, sentence, count, size)
            if tokens is not None:
                yield sentence, tokens
            else:
                yield from _runs(text, sentence, count, size)


def _counted(text: str, span: Span, count: Count, size: int) -> int | None:
    """Tokens of a span; None when they are more than fit."""
    tokens = count(text[slice(*span)])
    return tokens if tokens <= size else None


def _runs(text: str, span: Span, count: Count, size: int) -> Iterator[tuple[Span, int]]:
    """Runs of words that are as long as fit, each found by bisection from the length of the one before."""
    found: list[Span] = []
    source = words(text, span)
    guess = max(1, size // 2)
    while True:
        found.extend(span for _, span in zip(range(2 * guess + 1 - len(found)), source, strict=False))
        if not found:
            return
        low, high, tokens = 1, len(found), count(text[found[0][0] : found[0][1]])
        trial = min(guess, high)
        while low < high:
            trial = max(low + 1, min(trial, high))
            counted = count(text[found[0][0] : found[trial - 1][1]])
            if counted <= size:
                low, tokens = trial, counted
            else:
                high = trial - 1
            trial = (low + high + 1) // 2
        yield (found[0][0], found[low - 1][1]), tokens
        del found[:low]
        guess = max(low, 1)


def _last_sentences(text: str, span: Span, count: Count, overlap: int) -> Span | None:
    """The sentences at the end of a chunk that have at most so many tokens; never all of it."""
    if not overlap:
        return None
    # A sentence beyond so many characters would not fit, so no more needs to be looked at.
    begin = max(span[0], span[1] - overlap * MOST_CHARACTERS)
    tail = text[begin : span[1]]
    every = [sentence for paragraph in paragraphs(tail) for sentence in sentences(tail, paragraph)]
    place = bisect_left(every, True, lo=1, key=lambda sentence: count(tail[sentence[0] :]) <= overlap)
    return (begin + every[place][0], span[1]) if place < len(every) else None
