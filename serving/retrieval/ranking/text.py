"""Words, terms and names of a text, by rule and for any language that Unicode classifies.

Words are folded (case, accents, apostrophes, possessives). Scripts that do not put spaces between words, and Korean,
whose particles cling to them, become one token a character: names are then found inside a word, and terms are
character bigrams (Lee and Ahn 1996, for Korean).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+(?:['’ʼ`][^\W_]+)*")
_CJK = r"\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECE = re.compile(rf"[{_CJK}]|[^{_CJK}]+")
_CHARACTER = re.compile(rf"[{_CJK}]")
_APOSTROPHES = "'’ʼ`"
_UNDECOMPOSED = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})
_JOINING = frozenset({"", "-", "–", "‐", "/", "&"})
_ENDING = frozenset(".!?。！？\n")
_ABBREVIATED = frozenset({"jr", "sr", "dr", "st", "mr", "mrs", "ms", "no", "nr"})
_CONNECTING = "of de la le les du des del della di da do dos das van von der den the zu zur al el ibn bin y af av and"
CONNECTORS = frozenset(_CONNECTING.split())
_STOPPING = """
    a about after again all also am an and any are as at be because been before being between both but by can
    could did do does during each few for from further had has have having he her here hers him his how i if
    in into is it its itself just me more most my no nor not of off on once only or other our out over own
    same she should so some such than that the that their them then there these they this those through to too
    under until up us very was we were what when where which while who whom whose why will with would you your
    whether else ever many much
"""
STOPWORDS = frozenset(_STOPPING.split())
# What a company's name ends with and people leave out.
LEGAL_FORMS = frozenset(
    ("inc", "incorporated", "co", "company", "corp", "corporation", "ltd", "llc", "limited", "lp", "plc", "gmbh", "sa")
)


class Token(NamedTuple):
    """``word`` is folded; ``start`` and ``end`` are places in the text.

    ``capital``: it begins with a capital or has a digit; ``first``: of its sentence; ``joined``: nothing but space or a
    hyphen lies between it and the one before; ``tight``: not even space; ``inside``: a later character of a word.
    """

    word: str
    start: int
    end: int
    capital: bool
    first: bool
    joined: bool
    tight: bool
    inside: bool


@lru_cache(maxsize=100_000)
def folded(word: str) -> str:
    """Without case, accents, apostrophes and an English possessive; Hangul stays composed."""
    lower = word.casefold()
    if lower.isascii() and lower.isalnum():
        return lower
    if len(lower) > 2 and lower[-1] == "s" and lower[-2] in _APOSTROPHES:
        lower = lower[:-2]
    plain = unicodedata.normalize("NFKD", lower.translate(_UNDECOMPOSED))
    plain = "".join(c for c in plain if not unicodedata.combining(c) and c not in _APOSTROPHES)
    return unicodedata.normalize("NFC", plain)


def tokens(text: str) -> list[Token]:
    """The tokens of a text, in order."""
    found: list[Token] = []
    end, before = 0, ""
    for match in _WORD.finditer(text):
        raw, (start, stop) = match[0], match.span()
        between = text[end:start]
        if between == " ":  # as between most words
            first, joined, tight = not found, bool(found), False
        else:
            gap = between.strip()
            if raw in ("s", "S") and gap and gap[-1] in _APOSTROPHES:
                end = stop
                continue  # a possessive that stands apart
            abbreviated = gap == "." and (len(before) == 1 or before in _ABBREVIATED)
            first = not found or (not abbreviated and not _ENDING.isdisjoint(between))
            joined = bool(found) and (gap in _JOINING or abbreviated) and "\n" not in between
            tight = joined and end + len(gap) == start
        if raw.isascii() or not _CHARACTER.search(raw):
            before = folded(raw)
            capital = raw[0].isupper() or (not raw.isalpha() and any(c.isdigit() for c in raw))
            found.append(Token(before, start, stop, capital, first, joined, tight, False))
        else:
            for number, piece in enumerate(_PIECE.finditer(raw)):
                at = start + piece.start()
                before = folded(piece.group())
                one = Token(before, at, at + len(piece.group()), True, first and not number, bool(number) or joined,
                            bool(number) or tight, bool(number))  # fmt: skip
                found.append(one)
        end = stop
    return found


def is_character(word: str) -> bool:
    """Whether a token is a single character of a script that is read by characters."""
    return len(word) == 1 and bool(_CHARACTER.match(word))


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Without an English plural ending (the S stemmer, Harman 1991); words with digits and short ones stay."""
    if len(word) < 4 or word[-1] != "s" or not word.isalpha() or word[-2] in "su":
        return word
    if word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    return word[:-1]


def terms(found: Sequence[Token]) -> Iterator[str]:
    """What BM25 counts: stems, codes such as ``P-7`` also as one, and bigrams of characters."""
    for number, token in enumerate(found):
        if is_character(token.word):
            if token.inside and is_character(found[number - 1].word):
                yield found[number - 1].word + token.word
            elif number + 1 == len(found) or not found[number + 1].inside:
                yield token.word
            continue
        if token.word not in STOPWORDS:
            yield stem(token.word)
        if number and token.tight:
            before = found[number - 1].word
            if any(c.isdigit() for c in before + token.word) and not is_character(before):
                yield before + token.word


def proper_names(found: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Runs of capitalised words, also around a short connector (``Maid of the Mill``), as (first, past the last).

    A single word that opens a sentence and numbers by themselves are left out, and so are scripts without capitals.
    """
    number = 0
    while number < len(found):
        if not _opens(found[number]):
            number += 1
            continue
        end = number + 1
        while end < len(found):
            past = end
            while past < len(found) and past - end < 2 and found[past].joined and found[past].word in CONNECTORS:
                past += 1
            if past >= len(found) or not found[past].joined or not _goes_on(found[past]):
                break
            end = past + 1
        if end - number > 1 or not found[number].first:
            yield number, end
        number = end


def _opens(token: Token) -> bool:
    return _goes_on(token) and token.word not in STOPWORDS and not token.word.isdigit()


def _goes_on(token: Token) -> bool:
    return token.capital and not is_character(token.word)


def noun_pairs(found: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Pairs of neighbouring lower-case words that carry meaning (``bearing wear``), as (first, past the last)."""
    for number in range(1, len(found)):
        one, two = found[number - 1], found[number]
        if two.joined and _means(one) and _means(two):
            yield number - 1, number + 1


def _means(token: Token) -> bool:
    return not token.capital and len(token.word) > 2 and token.word not in STOPWORDS and token.word.isalpha()


def key(found: Sequence[Token]) -> tuple[str, ...]:
    """The words by which a name is looked up."""
    return tuple(token.word for token in found)
