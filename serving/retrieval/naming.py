"""Things that a question names by a part of their name, or by another spelling than the dictionary's."""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Mapping, Sequence

from serving.retrieval.access import seen
from serving.retrieval.elements import Node, Relation
from serving.retrieval.resolution import Resolver
from serving.retrieval.resolution import words as words_of
from serving.retrieval.structured import Entity

# Words with a capital or a digit, which may be joined by a few small ones.
_SPAN = re.compile(r"(?:[A-Z0-9][\w.'’-]*)(?:\s+(?:(?:of|and|the|de|la|&)\s+)?[A-Z0-9][\w.'’-]*)*")
VIEWS, LONGEST = 4, 8
BETTER_KNOWN = 20
# What resolves names, the things that have a word in their names, and the relations of each thing.
_Kind = tuple[Resolver, Mapping[str, set[str]], Mapping[str, int]]


class Names:
    """Resolves spans of questions among the nodes of some kinds that a caller sees.

    Args:
        nodes, relations: all of them.
        kinds: those that declared queries take.
    """

    def __init__(self, nodes: Sequence[Node], relations: Sequence[Relation], kinds: Collection[str]) -> None:
        self._nodes = [node for node in nodes if node.kind in kinds]
        known = {node.uid for node in self._nodes}
        self._relations = [(r.source, r.target, r.access) for r in relations if {r.source, r.target} & known]
        self._accesses = {node.access for node in self._nodes} | {access for _, _, access in self._relations}
        self._views: OrderedDict[frozenset[str], dict[str, _Kind]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, question: str, known: Sequence[Entity], labels: frozenset[str]) -> list[Entity]:
        """Things beside the ``known`` ones; a span that two kinds have a name for gives both."""
        taken = " ".join(entity.span.lower() for entity in known)
        found: list[Entity] = []
        for match in _SPAN.finditer(question):
            words = match.group().split()
            begins = question[: match.start()].rstrip()[-1:] in ("", ".", "?", "!", ":")
            if begins and len(words) > 1:
                words = words[1:]  # a sentence begins with a capital
            span = " ".join(words[:LONGEST]).rstrip("?.!,'’")
            span = re.sub(r"['’]s$", "", span)
            if len(span) < 3 or span.lower() in taken:
                continue
            for kind, (resolver, owners, degree) in self._known(labels).items():
                thing = resolver.resolve(span)
                uid = thing.uid if thing is not None else None
                # The first word of a sentence has a capital whatever it is.
                if uid is None and not (begins and len(match.group().split()) == 1):
                    uid = _meant(owners, degree, span)
                if uid is not None and all(entity.uid != uid for entity in known):
                    found.append(Entity(uid, kind, span))
        return found

    def _known(self, labels: frozenset[str]) -> dict[str, _Kind]:
        """What is known of each kind, by what the caller sees."""
        key = seen(self._accesses, labels)
        with self._lock:
            if key not in self._views:
                names: dict[str, dict[str, list[str]]] = defaultdict(dict)
                owners: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
                for node in self._nodes:
                    if node.access in key:
                        names[node.kind][node.uid] = [node.name, *node.aliases]
                        for word in {word for name in names[node.kind][node.uid] for word in words_of(name)}:
                            owners[node.kind][word].add(node.uid)
                degree = Counter(end for a, b, access in self._relations if access in key for end in (a, b))
                self._views[key] = {kind: (Resolver(some), owners[kind], degree) for kind, some in names.items()}
            self._views.move_to_end(key)
            while len(self._views) > VIEWS:
                self._views.popitem(last=False)
            return self._views[key]


def _meant(owners: Mapping[str, set[str]], degree: Mapping[str, int], span: str) -> str | None:
    """The thing that has all words of a span in its names, when it is the only one, or far better known than the next.

    How well a thing is known is the number of its relations: the prior of Mihalcea & Csomai 2007
    (https://doi.org/10.1145/1321440.1321475), with the graph in the place of links between pages.
    """
    having = [owners.get(word, set()) for word in words_of(span)]
    both = set.intersection(*having) if having else set()
    ranked = sorted(both, key=lambda uid: (-degree.get(uid, 0), uid))
    if not ranked:
        return None
    if len(ranked) > 1 and degree.get(ranked[0], 0) < BETTER_KNOWN * (1 + degree.get(ranked[1], 0)):
        return None
    return ranked[0]
