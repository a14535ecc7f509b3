"""What a file says once it is parsed: a title and sections, each below its headings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from assets.knowledge.documents.text import CONTROLS
from serving.errors import ClearwayError

MAX_SECTIONS = 50_000


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document.

    Attributes:
        path: headings from the outermost to the section's own; empty before the first heading.
        text: paragraphs, with an empty line between two; never empty.
    """

    path: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed file, and notes of what was repaired in it."""

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a stream of blocks; ``level`` counts from 1, the outermost."""

    level: int
    text: str


def sectioned(blocks: Iterable[Heading | str], where: str) -> Iterator[Section]:
    """Sections of a stream of headings and paragraphs; one without text is only part of the paths below it.

    Raises:
        ClearwayError: there are more than ``MAX_SECTIONS``.
    """
    above: list[Heading] = []
    paragraphs: list[str] = []
    count = 0
    for block in (*blocks, Heading(1, "")):
        # Character references bring back what was removed from the file.
        if isinstance(block, str):
            words = CONTROLS.sub("", block).strip("\n").rstrip()
            if words.strip():
                paragraphs.append(words)
            continue
        if paragraphs:
            count += 1
            if count > MAX_SECTIONS:
                raise ClearwayError(
                    f"{where}: more than {MAX_SECTIONS:,} sections",
                    untouched="all other documents.",
                    todo="split the file.",
                )
            yield Section(tuple(h.text for h in above), "\n\n".join(paragraphs))
            paragraphs = []
        above = [h for h in above if h.level < block.level]
        heading = CONTROLS.sub("", block.text).strip()
        if heading:
            above.append(Heading(block.level, heading))


def titled(sections: Iterable[Section], title: str) -> tuple[Section, ...]:
    """The sections without the outermost heading when it is one over all and says the title."""
    every = tuple(sections)
    if any(section.path[:1] != (title,) for section in every if section.path):
        return every
    return tuple(Section(section.path[1:], section.text) for section in every)
