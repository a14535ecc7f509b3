"""The index that answers questions over passages and entities, for callers who see different parts of them.

No language model and no GPU: a dictionary of names, BM25 and personalised PageRank, and dense scores where the caller
has some. A caller gets what an index of only the elements that they see would answer (non-interference): each distinct
set of accesses that is seen together has an index of its own, a *view*, built when it is first asked.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from serving.errors import ClearwayError
from serving.retrieval.access import seen
from serving.retrieval.elements import Node, Passage, Relation
from serving.retrieval.ranking import storage
from serving.retrieval.ranking import view as views
from serving.retrieval.ranking.parameters import Parameters
from serving.retrieval.ranking.results import METHODS, Found, Hit, Linked
from serving.retrieval.ranking.view import View

__all__ = ["METHODS", "Found", "Hit", "Index", "Linked", "Parameters"]
VIEWS = 8  # kept beside the whole
T = TypeVar("T", Passage, Node, Relation)


@dataclass(frozen=True)
class Index:
    """All elements and the view of who sees them all. Safe for threads; made by ``build`` or ``load``."""

    elements: storage.Elements
    whole: View
    _views: OrderedDict[frozenset[str], View] = field(default_factory=OrderedDict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def build(
        cls,
        passages: Sequence[Passage],
        nodes: Sequence[Node] = (),
        relations: Sequence[Relation] = (),
        parameters: Parameters = Parameters(),  # noqa: B008  (frozen)
    ) -> Index:
        """The index of elements.

        A mention or an end of a relation that is no node of ``nodes`` is ignored.

        Raises:
            ClearwayError: two passages or two nodes have one uid.
        """
        for kind, uids in (("passages", [p.uid for p in passages]), ("nodes", [n.uid for n in nodes])):
            twice = [uid for uid, count in Counter(uids).items() if count > 1]
            if twice:
                raise ClearwayError(
                    f"{len(twice)} {kind} share their uid with another, the first is '{twice[0]}'",
                    untouched="the index that is published.",
                    todo="give each its own uid.",
                )
        # Properties are not searched.
        bare = tuple(Node(n.uid, n.kind, n.name, aliases=tuple(n.aliases), access=n.access) for n in nodes)
        edges = tuple(Relation(r.source, r.predicate, r.target, key=r.key, access=r.access) for r in relations)
        whole = views.build(passages, bare, edges, parameters)
        return cls(storage.Elements(tuple(passages), bare, edges), whole)

    def save(self, folder: Path) -> None:
        """Write the index into a folder, in one step; what stood there is replaced."""
        storage.save(folder, self.elements, self.whole)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read what ``save`` wrote.

        Raises:
            ClearwayError: a file is missing, broken or of another version.
        """
        return cls(*storage.load(folder))

    def search(
        self,
        question: str,
        labels: frozenset[str],
        limit: int = 8,
        dense: Mapping[str, float] | None = None,
        methods: Collection[str] = METHODS,
    ) -> Found:
        """The passages that answer a question best, and the entities that it names.

        Args:
            labels: what the caller holds.
            limit: the most passages, at least 0.
            dense: similarity by passage uid; those of passages that the caller may not see are ignored.
            methods: which to use, of ``METHODS``; dense without scores is left out.

        Raises:
            ClearwayError: a method is unknown or the limit is negative.
        """
        unknown = sorted(set(methods) - set(METHODS))
        if unknown or limit < 0:
            what = f"retrieval methods {unknown} are unknown" if unknown else f"a limit of {limit} passages is negative"
            raise ClearwayError(what, untouched="everything.", todo=f"choose among {', '.join(METHODS)}.")
        return self.view(labels).search(question, limit, dense, methods)

    def path(self, hit_uid: str, entities: Collection[str], labels: frozenset[str]) -> tuple[str, ...]:
        """How a passage is reached from the question's entities: uids from an entity to the passage.

        The shortest way over mentions, titles, phrases and relations that the caller sees; a phrase stands there as
        ``phrase:`` and its words. Empty when there is none, and when the caller does not see the passage.
        """
        return self.view(labels).path(hit_uid, entities)

    def view(self, labels: frozenset[str]) -> View:
        """The view of a caller, built when it is not among those last used."""
        everything = self.elements.accesses
        sees = seen(everything, labels)
        if sees == everything:
            return self.whole
        with self._lock:
            if sees in self._views:
                self._views.move_to_end(sees)
                return self._views[sees]
        made = views.build(*self._visible(sees), self.whole.parameters)
        with self._lock:
            self._views[sees] = made
            self._views.move_to_end(sees)
            while len(self._views) > VIEWS:
                self._views.popitem(last=False)
        return made

    def _visible(self, sees: frozenset[str]) -> tuple[list[Passage], list[Node], list[Relation]]:
        elements = self.elements
        return _of(elements.passages, sees), _of(elements.nodes, sees), _of(elements.relations, sees)


def _of(elements: Iterable[T], sees: frozenset[str]) -> list[T]:
    return [element for element in elements if element.access in sees]
