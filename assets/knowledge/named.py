"""Things whose names or codes stand in texts, found once for each text and set of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from serving.retrieval.elements import Node, digest

if TYPE_CHECKING:
    from assets.knowledge.cache import Cache
    from assets.knowledge.extract import Code
    from serving.retrieval.ranking.dictionary import Dictionary

CODE_VERSION = "1"
SHORTEST = 4  # A shorter name that is also a word would be found everywhere; declared patterns find codes.


class Named:
    """Finds things by name and by code.

    Args:
        nodes: the things; names that several share are left open.
        cache: what was found by text; what it has of other texts and names is forgotten.
    """

    def __init__(self, nodes: Sequence[Node], codes: Sequence[Code], cache: Cache | None = None) -> None:
        self._nodes, self._cache = nodes, cache
        self._codes = [(one.kind, re.compile(one.pattern)) for one in codes]
        names = sorted((node.uid, node.name, *node.aliases) for node in nodes)
        self._with = digest(CODE_VERSION, names, [(kind, pattern.pattern) for kind, pattern in self._codes])

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
        held = self._cache.get(keys) if self._cache is not None else {}
        found = {key: orjson.loads(value) for key, value in held.items()}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        found.update({key: self._found(text) for key, text in new.items()})
        if self._cache is not None:
            self._cache.put({key: orjson.dumps(found[key]) for key in new})
            self._cache.retain(keys)
        return [found[key] for key in keys]

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
