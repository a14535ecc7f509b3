"""Things whose names or codes stand in texts; a text is read again only when a name that it may have comes or goes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from serving.retrieval.elements import Node, digest

if TYPE_CHECKING:
    from assets.knowledge.cache import Cache
    from assets.knowledge.extract import Code
    from serving.retrieval.ranking.dictionary import Dictionary

CODE_VERSION = "3"
NAMES = "names"  # the key under which the cache has the names that it was made with
MOST_CHANGED = 500
SHORTEST = 4  # A shorter name that is also a word would be found everywhere; declared patterns find codes.


class Named:
    """Finds things by name and by code.

    Args:
        nodes: the things; names that several share are left open.
        cache: what was found by text; a text is read again when a name that may stand in it came, went or means
            something else. What it has of other texts is forgotten.
    """

    def __init__(self, nodes: Sequence[Node], codes: Sequence[Code], cache: Cache | None = None) -> None:
        self._nodes, self._cache = nodes, cache
        self._codes = [(one.kind, re.compile(one.pattern)) for one in codes]
        self._with = digest(CODE_VERSION, [(kind, pattern.pattern) for kind, pattern in self._codes])

    @cached_property
    def _known(self) -> set[str]:
        return {node.uid for node in self._nodes}

    @cached_property
    def _names(self) -> Dictionary:
        from serving.retrieval.ranking import dictionary

        return dictionary.build(
            (i, name, "name")
            for i, node in enumerate(self._nodes)
            for name in (node.name, *node.aliases)
            if len(name) >= SHORTEST
        )

    def key(self, text: str) -> str:
        """Under which the cache has a text."""
        return digest(self._with, text)

    def find(self, texts: Sequence[str]) -> list[dict[str, str]]:
        """By text the uids that it names, and whether by ``name`` or ``code``."""
        keys = [self.key(text) for text in texts]
        held = self._cache.get([NAMES, *keys]) if self._cache is not None else {}
        now = self._meaning()
        words = _words_of_change(orjson.loads(held.pop(NAMES)), now) if NAMES in held else None
        found: dict[str, dict[str, str]] = {}
        new: dict[str, dict[str, str]] = {}
        for key, text in zip(keys, texts, strict=True):
            if key in held and words is not None and not _may_have(text, words):
                found[key] = orjson.loads(held[key])
            elif key not in found:
                found[key] = new[key] = self._found(text)
        if self._cache is not None:
            values = {key: orjson.dumps(one) for key, one in new.items()}
            self._cache.put({**values, NAMES: orjson.dumps(now)})
            self._cache.retain([NAMES, *keys])
        return [found[key] for key in keys]

    def _meaning(self) -> dict[str, list[str]]:
        """The things that a text with a name or an id may mean, by name and by id."""
        meant: dict[str, list[str]] = {}
        coded = {kind for kind, _ in self._codes}
        for node in sorted(self._nodes, key=lambda node: node.uid):
            ids = [node.uid.partition(":")[2]] if node.kind in coded else []
            for name in dict.fromkeys((node.name, *node.aliases, *ids)):
                meant.setdefault(name, []).append(node.uid)
        return meant

    def _found(self, text: str) -> dict[str, str]:
        from serving.retrieval.ranking.text import tokens

        mentions: dict[str, str] = {}
        for match in self._names.matches(tokens(text)):
            if len({entry.entity for entry in match.entries}) == 1:
                mentions.setdefault(self._nodes[match.entries[0].entity].uid, "name")
        for kind, pattern in self._codes:
            for code in pattern.findall(text):
                if (uid := f"{kind}:{code}") in self._known:
                    mentions.setdefault(uid, "code")
        return mentions


def _words_of_change(before: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> set[str] | None:
    """Words that stand in every text to which names that came, went or mean something else matter; None for any."""
    from serving.retrieval.ranking import dictionary

    changed = [name for name in {*before, *now} if before.get(name) != now.get(name)]
    if len(changed) > MOST_CHANGED:
        return None
    words = {words[0] for name in changed for words, _, _ in dictionary.variants(name)}
    return words | {_plain(name) for name in changed}


def _may_have(text: str, words: set[str]) -> bool:
    """Whether a text has one of the words, perhaps within another; of a text that is not ASCII it is not known."""
    if not words:
        return False
    plain = _plain(text)
    return not text.isascii() or any(word in plain for word in words)


def _plain(text: str) -> str:
    """What folded tokens of an ASCII text are parts of."""
    return text.casefold().replace("'", "").replace("`", "")
