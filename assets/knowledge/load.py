"""Brings one copy of the graph to what is wanted, by what differs; killed anywhere, the next call goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from serving.faults import boundary
from serving.retrieval.copy import Copy, Held, node_digest, relation_digest
from serving.retrieval.elements import Part


@dataclass
class Loaded:
    """What a load did, in elements; ``parts`` were not as wanted."""

    parts: int = 0
    nodes_written: int = 0
    nodes_removed: int = 0
    relations_written: int = 0
    relations_removed: int = 0


NOTHING = Held(None, (), ())


def _kinds(part: Part) -> set[str]:
    return {node.kind for node in part.nodes}


def _held(part: Part) -> Held:
    return Held(part.digest, tuple(_kinds(part)), tuple({one.predicate for one in part.relations}))


def bring(copy: Copy, parts: Sequence[Part], tell: Callable[[str], None] = lambda _: None) -> Loaded:
    """Make a copy hold exactly ``parts``.

    Parts whose digest it holds are not looked at. Nodes of the others come first, so that relations find their ends,
    which :func:`assets.knowledge.things.check` has seen to exist.

    Raises:
        ClearwayError: the graph fails; what was written stays, and the next call begins with what is missing.
    """
    copy.prepare(sorted({kind for part in parts for kind in _kinds(part)}))
    held = copy.parts()
    wanted = {part.name: part for part in parts}
    changed = [part for part in parts if part.name not in held or held[part.name].digest != part.digest]
    gone = [name for name in held if name not in wanted]
    done = Loaded(parts=len(changed) + len(gone))
    if not done.parts:
        return done
    names = [part.name for part in changed] + gone
    kinds: set[str] = set()
    predicates: set[str] = set()
    opened: dict[str, Held] = {}
    for name in names:
        before, after = held.get(name, NOTHING), _held(wanted[name]) if name in wanted else NOTHING
        opened[name] = Held(None, (*before.kinds, *after.kinds), (*before.predicates, *after.predicates))
        kinds |= set(before.kinds)
        predicates |= set(before.predicates)
    copy.mark(opened)
    boundary("graph:opened")
    stale = _write_nodes(copy, parts, changed, names, kinds, done)
    tell(f"{done.nodes_written} nodes written")
    boundary("graph:nodes")
    _write_relations(copy, changed, names, predicates, done)
    boundary("graph:relations")
    for kind, uids in stale.items():
        copy.remove_nodes(kind, uids)
        done.nodes_removed += len(uids)
    tell(f"{done.relations_written} relations written, {done.nodes_removed} nodes removed")
    copy.mark({part.name: _held(part) for part in changed})
    copy.remove_parts(gone)
    return done


def _write_nodes(
    copy: Copy, parts: Sequence[Part], changed: Sequence[Part], names: list[str], kinds: set[str], done: Loaded
) -> dict[str, list[str]]:
    """Write the changed parts' nodes; gives those to remove, by kind."""
    held = {kind: copy.nodes(kind, names) for kind in sorted(kinds)}
    stale: dict[str, list[str]] = {}
    if held:
        every = {node.uid for part in parts for node in part.nodes}
        stale = {kind: [uid for uid in some if uid not in every] for kind, some in held.items()}
    new = {
        part.name: [n for n in part.nodes if held.get(n.kind, {}).get(n.uid) != node_digest(part.name, n)]
        for part in changed
    }
    copy.put_nodes(new)
    done.nodes_written += sum(map(len, new.values()))
    return {kind: uids for kind, uids in stale.items() if uids}


def _write_relations(copy: Copy, changed: Sequence[Part], names: list[str], predicates: set[str], done: Loaded) -> None:
    held = {predicate: copy.relations(predicate, names) for predicate in sorted(predicates)}
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for part in changed:
        for one in part.relations:
            wanted[one.predicate][one.uid] = relation_digest(part.name, one)
    for predicate, some in held.items():
        stale = [
            (uid, source, target)
            for uid, (digest, source, target) in some.items()
            if wanted[predicate].get(uid) != digest
        ]
        copy.remove_relations(predicate, stale)
        done.relations_removed += len(stale)
    new = {
        part.name: [
            one
            for one in part.relations
            if held.get(one.predicate, {}).get(one.uid, ("", "", ""))[0] != wanted[one.predicate][one.uid]
        ]
        for part in changed
    }
    copy.put_relations(new)
    done.relations_written += sum(map(len, new.values()))


def reopen(copy: Copy, parts: Sequence[Part]) -> int:
    """Compare every element of a copy with what is wanted, and say of parts with a difference that they are not whole.

    The next :func:`bring` mends them. Elements of no wanted part are removed here. Gives the number of such parts.
    """
    copy.prepare(sorted({kind for part in parts for kind in _kinds(part)}))
    held = copy.parts()
    nodes: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    relations: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for part in parts:
        for node in part.nodes:
            nodes[node.kind][node.uid] = (node_digest(part.name, node), part.name)
        for one in part.relations:
            relations[one.predicate][one.uid] = (relation_digest(part.name, one), part.name)
    wrong: set[str] = set()
    for predicate in sorted({*relations, *(p for part in held.values() for p in part.predicates)}):
        there = copy.relations(predicate)
        wrong |= {part for uid, (value, part) in relations[predicate].items() if there.get(uid, ("",))[0] != value}
        stray = [(uid, s, t) for uid, (_, s, t) in there.items() if uid not in relations[predicate]]
        copy.remove_relations(predicate, stray)
    for kind in sorted({*nodes, *(k for part in held.values() for k in part.kinds)}):
        existing = copy.nodes(kind)
        wrong |= {part for uid, (value, part) in nodes[kind].items() if existing.get(uid) != value}
        copy.remove_nodes(kind, [uid for uid in existing if uid not in nodes[kind]])
    by_name = {part.name: part for part in parts}
    copy.mark({name: replace(_held(by_name[name]), digest=None) for name in sorted(wrong)})
    return len(wrong)
