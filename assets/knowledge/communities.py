"""Communities of the graph by hierarchical Leiden, each with an extractive report.

Traag, Waltman & van Eck 2019 (https://arxiv.org/abs/1810.08473); reports as entry points for questions about the whole
after Edge et al. 2024 (https://arxiv.org/abs/2404.16130), but extracted, not written by a language model.

A report names members and quotes relations, so it may be read by those who see all of them: communities are found
once for each set of labels that the graph has, among the elements that its holders see, and its reports ask for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from serving.retrieval.access import split
from serving.retrieval.elements import Node, Part, Passage, Relation, digest

KIND, MEMBER = "Community", "IN_COMMUNITY"
MAX_SIZE = 250
SEED = 20130101
# Converged: of 9,400 things, one more month moves 600 to another community, and 2,700 after a single iteration.
ITERATIONS = 5
# So few that a report is within what a passage is embedded by.
NAMED, QUOTED = 6, 6
CODE_VERSION = "2"


@dataclass(frozen=True)
class Community:
    """Members' uids; ``level`` 0 is the coarsest. ``leader`` is the member with most relations."""

    level: int
    access: str
    members: tuple[str, ...]
    leader: str

    @cached_property
    def uid(self) -> str:
        # By its leader: one that gains or loses a few members stays the same thing, and only their relations change.
        return f"{KIND}:{digest(CODE_VERSION, self.level, self.access, self.leader)[:16]}"


def find(
    nodes: Sequence[Node], relations: Sequence[Relation], access: str, max_size: int = MAX_SIZE, least: int = 3
) -> list[Community]:
    """Communities among what a holder of ``access`` sees, at all levels, of at least ``least`` members."""
    import graspologic_native

    labels = split(access)
    seen = {node.uid for node in nodes if split(node.access) <= labels}
    weights: Counter[tuple[str, str]] = Counter()
    for one in relations:
        if split(one.access) <= labels and one.source in seen and one.target in seen and one.source != one.target:
            a, b = sorted((one.source, one.target))
            weights[a, b] += 1
    if not weights:
        return []
    edges = [(a, b, float(w)) for (a, b), w in sorted(weights.items())]
    found = graspologic_native.hierarchical_leiden(
        edges, starting_communities=None, resolution=1.0, randomness=0.001, iterations=ITERATIONS, use_modularity=True,
        max_cluster_size=max_size, seed=SEED,
    )  # fmt: skip
    members: dict[tuple[int, int], list[str]] = defaultdict(list)
    for row in found:
        members[row.level, row.cluster].append(row.node)
    related: Counter[str] = Counter()
    for (a, b), weight in weights.items():
        related[a] += weight
        related[b] += weight
    return [
        Community(level, access, tuple(sorted(some)), max(some, key=lambda uid: (related[uid], uid)))
        for (level, _), some in sorted(members.items())
        if len(some) >= least
    ]


def report(community: Community, nodes: Mapping[str, Node], touching: Sequence[Relation]) -> tuple[str, str]:
    """Title and text: the members by kind, the most frequent relations with examples, and the most related by name.

    Args:
        touching: relations with both ends in the community.
    """
    degree: Counter[str] = Counter()
    for one in touching:
        degree[one.source] += 1
        degree[one.target] += 1
    ranked = sorted(community.members, key=lambda uid: (-degree[uid], uid))
    kinds = Counter(nodes[uid].kind for uid in community.members)
    title = f"Community of {', '.join(nodes[uid].name for uid in ranked[:3])}"
    lines = [f"{len(ranked)} things: {', '.join(f'{kind} ({n})' for kind, n in kinds.most_common())}."]
    by_predicate: dict[str, list[Relation]] = defaultdict(list)
    for one in touching:
        by_predicate[one.predicate].append(one)
    for predicate, some in sorted(by_predicate.items(), key=lambda item: (-len(item[1]), item[0]))[:QUOTED]:
        best = max(some, key=lambda one: (degree[one.source] + degree[one.target], one.uid))
        words, times = predicate.lower().replace("_", " "), f"{len(some)} times" if len(some) > 1 else "once"
        lines.append(f"{times} {words}, for example {nodes[best.source].name} {words} {nodes[best.target].name}.")
    for kind, count in kinds.most_common(4):
        names = [nodes[uid].name for uid in ranked if nodes[uid].kind == kind][:NAMED]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        lines.append(f"{kind}: {', '.join(names)}{more}.")
    return title, "\n".join(lines)


def community_parts(parts: Sequence[Part], max_size: int = MAX_SIZE) -> list[Part]:
    """Reports of all communities, for each set of labels in use, as passages of nodes of their own.

    A thing is related to the smallest community that it is in, a community to the one that holds it. The set without
    labels comes first; a set whose communities are those of a smaller one adds nothing.
    """
    nodes = {node.uid: node for part in parts for node in part.nodes}
    relations = [one for part in parts for one in part.relations]
    accesses = sorted({node.access for node in nodes.values()} | {one.access for one in relations}, key=len)
    known: dict[tuple[int, tuple[str, ...]], list[Community]] = defaultdict(list)
    made: list[Part] = []
    for access in dict.fromkeys(["", *accesses]):
        new: list[Community] = []
        standing: list[Community] = []
        for community in find(list(nodes.values()), relations, access, max_size):
            # Only what all its readers see already is left out: others' labels must not move what they get.
            same = known[community.level, community.members]
            before = next((one for one in same if split(one.access) <= split(access)), None)
            if before is None:
                same.append(community)
                new.append(community)
            standing.append(before or community)
        made += _level_parts(new, standing, nodes, relations, access)
    return made


def _level_parts(
    new: Sequence[Community],
    standing: Sequence[Community],
    nodes: Mapping[str, Node],
    relations: Iterable[Relation],
    access: str,
) -> list[Part]:
    """Parts of what is new; ``standing`` are all communities that the holders of ``access`` have."""
    labels = split(access)
    home: dict[int, dict[str, Community]] = defaultdict(dict)
    smallest: dict[str, Community] = {}
    for community in sorted(standing, key=lambda one: one.level):
        home[community.level].update(dict.fromkeys(community.members, community))
        smallest.update(dict.fromkeys(community.members, community))
    inside: dict[str, list[Relation]] = defaultdict(list)
    for one in relations:
        if split(one.access) <= labels:
            for level in home.values():
                a, b = level.get(one.source), level.get(one.target)
                if a is not None and a is b:
                    inside[a.uid].append(one)
    parts: dict[int, tuple[list[Node], list[Relation], list[Passage]]] = {}
    for community in new:
        title, text = report(community, nodes, inside[community.uid])
        node = Node(community.uid, KIND, title, {"level": community.level, "size": len(community.members)}, (), access)
        kept = parts.setdefault(community.level, ([], [], []))
        kept[0].append(node)
        members = [uid for uid in community.members if smallest[uid] is community]
        above = (home[level].get(community.members[0]) for level in range(community.level - 1, -1, -1))
        held = next((one.uid for one in above if one is not None), None)
        kept[1].extend(Relation(uid, MEMBER, community.uid, {}, "", access) for uid in members)
        if held is not None:
            kept[1].append(Relation(community.uid, MEMBER, held, {}, "", access))
        kept[2].append(Passage(f"{community.uid}#0", community.uid, title, text, 0, (), access))
    return [
        Part(f"communities/{access or 'all'}/{level}", tuple(n), tuple(r), tuple(p))
        for level, (n, r, p) in sorted(parts.items())
    ]
