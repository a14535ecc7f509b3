"""A dictionary of names, found in a text by longest match; no model, no training."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from serving.retrieval.ranking.text import LEGAL_FORMS, STOPWORDS, Token, is_character, key, tokens

How = Literal["name", "alias", "title", "spelling"]
Key = tuple[str, ...]
LONGEST = 24  # tokens of a name; longer ones are no names
_BRACKETS = re.compile(r"^(.+?)\s*[(\[（](.+)[)\]）]\s*$")
_CODE = re.compile(r"^([a-z]{1,4})(\d+)([a-z]{0,3})$")


class Entry(NamedTuple):
    """An entity that has a name. ``qualifier``: the words that were cut off the name, which tell namesakes apart.

    ``proper``: it is written with a capital or a digit, so that a text in lower case does not speak of it.
    """

    entity: int
    how: How
    qualifier: Key
    proper: bool


class Match(NamedTuple):
    """Tokens from ``start`` to before ``end`` are a name of the entities in ``entries``; ``edits`` letters differ."""

    start: int
    end: int
    entries: tuple[Entry, ...]
    edits: int = 0


@dataclass(frozen=True)
class Dictionary:
    """``entries`` by name; ``lengths`` are those of the names that begin with a word, longest first."""

    entries: dict[Key, tuple[Entry, ...]]
    lengths: dict[str, tuple[int, ...]]

    def at(self, found: Sequence[Token], start: int, fits: Callable[[Sequence[Token], Entry], bool]) -> Match | None:
        """The longest name that begins at a token."""
        if not may_begin(found[start]):
            return None
        for length in self.lengths.get(found[start].word, ()):
            span = found[start : start + length]
            if len(span) < length or not (entries := self.entries.get(key(span))):
                continue
            if fitting := tuple(entry for entry in entries if fits(span, entry)):
                return Match(start, start + length, fitting)
        return None

    def matches(self, found: Sequence[Token]) -> Iterator[Match]:
        """Names in a passage, leftmost and longest, without overlap."""
        start = 0
        while start < len(found):
            match = self.at(found, start, written_alike)
            if match:
                yield match
            start = match.end if match else start + 1


def may_begin(token: Token) -> bool:
    """Whether a name may begin here: not within a Korean word, whose later characters are particles."""
    return not token.inside or not ("\uac00" <= token.word <= "\ud7af")


def written_alike(span: Sequence[Token], entry: Entry) -> bool:
    """Whether a proper name is written as one: its first word that carries meaning has a capital."""
    return not entry.proper or next((t.capital for t in span if t.word not in STOPWORDS), span[0].capital)


def build(names: Iterable[tuple[int, str, How]]) -> Dictionary:
    """The dictionary of (entity, name, how), with the variants under which a name is also known."""
    entries: dict[Key, dict[int, Entry]] = defaultdict(dict)
    for entity, name, how in names:
        for words, qualifier, proper in variants(name):
            entries[words].setdefault(entity, Entry(entity, how, qualifier, proper))
    lengths: dict[str, set[int]] = defaultdict(set)
    for words in entries:
        lengths[words[0]].add(len(words))
    return Dictionary(
        {words: tuple(sorted(found.values())) for words, found in entries.items()},
        {word: tuple(sorted(found, reverse=True)) for word, found in lengths.items()},
    )


def variants(name: str) -> Iterator[tuple[Key, Key, bool]]:
    """(words, qualifier, proper) of a name: whole, without what ends it (brackets, a legal form, after a comma), a code
    in its parts.
    """
    found = tokens(name)
    proper = any(token.capital for token in found if token.word not in STOPWORDS and not is_character(token.word))
    forms: list[tuple[Key, Key]] = [(key(found), ())]
    if bracketed := _BRACKETS.match(name):
        forms.append((key(tokens(bracketed[1])), key(tokens(bracketed[2]))))
    head, comma, rest = name.partition(",")
    if comma and len(words := key(tokens(head))) > 1:
        forms.append((words, key(tokens(rest))))
    bare = len(found)
    while bare and found[bare - 1].word in LEGAL_FORMS:
        bare -= 1
    if 1 < bare < len(found):
        forms.append((key(found[:bare]), key(found[bare:])))
    if len(found) == 1 and (code := _CODE.match(found[0].word)):
        forms.append((tuple(part for part in code.groups() if part), ()))
    if len(found) > 1 and all(t.tight for t in found[1:]) and any(c.isdigit() for c in name):
        forms.append((("".join(key(found)),), ()))
    for words, qualifier in forms:
        if names_something(words):
            yield words, qualifier, proper


def names_something(words: Key) -> bool:
    """Whether words can be a name: not a lone letter, stop word or short number, nor more than a name has."""
    if not words or len(words) > LONGEST:
        return False
    if len(words) == 1:
        word = words[0]
        return len(word) > (2 if word.isdigit() else 1) and word not in STOPWORDS
    return any(word not in STOPWORDS for word in words)
