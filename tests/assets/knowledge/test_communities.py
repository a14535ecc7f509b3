"""Communities and their reports: what a reader may not see moves nothing that they get."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from assets.knowledge.communities import community_parts, find
from assets.knowledge.things import check
from serving.retrieval.access import union, visible
from serving.retrieval.elements import Part, Relation
from tests.knowledge import part, pump


def ring(start: int, size: int, access: str = "") -> list[Relation]:
    ids = range(start, start + size)
    return [
        Relation(f"Pump:{a}", "FEEDS", f"Pump:{b}", {}, "", access) for a in ids for b in ids if a < b
    ]  # fmt: skip


def test_dense_groups_are_found_and_told() -> None:
    nodes = [pump(n) for n in range(20)]
    relations = [*ring(0, 10), *ring(10, 10), Relation("Pump:0", "FEEDS", "Pump:10")]
    found = [set(c.members) for c in find(nodes, relations, "") if c.level == 0]
    assert sorted(found, key=len) == [{f"Pump:{n}" for n in range(10)}, {f"Pump:{n}" for n in range(10, 20)}]
    (made,) = community_parts([part("p", nodes, relations)])
    assert check([part("p", nodes, relations), made]) == []
    text = made.passages[0].text
    assert text.startswith("10 things: Pump (10).")
    assert "45 times feeds" in text
    again = community_parts([part("p", list(reversed(nodes)), list(reversed(relations)))])
    assert {p.uid for p in again[0].passages} == {p.uid for p in made.passages}


def test_a_community_that_did_not_change_keeps_its_uid() -> None:
    nodes = [pump(n) for n in range(20)]
    before = community_parts([part("p", nodes, [*ring(0, 10), *ring(10, 10)])])[0]
    after = community_parts([part("p", [*nodes, pump(20)], [*ring(0, 10), *ring(10, 11)])])[0]
    assert len({p.uid for p in before.passages} & {p.uid for p in after.passages}) == 1


def test_a_thing_is_in_its_smallest_community_and_that_in_the_one_that_holds_it() -> None:
    nodes = [pump(n) for n in range(200)]
    world = part("p", nodes, [Relation(f"Pump:{n}", "FEEDS", f"Pump:{n + 1}") for n in range(199)])
    made = community_parts([world], max_size=6)
    assert check([world, *made]) == []
    level = {n.uid: int(n.properties["level"]) for p in made for n in p.nodes}
    held = {r.source: r.target for p in made for r in p.relations}
    assert len(held) == sum(len(p.relations) for p in made), "each thing is in one"
    assert {n.uid for n in nodes} <= set(held)
    assert max(level.values()) > 0
    members: dict[str, set[str]] = {uid: set() for uid in level}
    for pumped in (n.uid for n in nodes):
        above = held.get(pumped)
        while above is not None:
            members[above].add(pumped)
            assert above not in held or level[held[above]] < level[above]
            above = held.get(above)
    sizes = {n.uid: n.properties["size"] for p in made for n in p.nodes}
    assert {uid: len(found) for uid, found in members.items()} == sizes


def test_a_community_that_gains_a_member_stays_the_same_and_only_that_relation_is_new() -> None:
    nodes = [pump(n) for n in range(20)]
    (before,) = community_parts([part("p", nodes, [*ring(0, 10), *ring(10, 10)])])
    joins = Relation("Pump:20", "FEEDS", "Pump:19")
    (after,) = community_parts([part("p", [*nodes, pump(20)], [*ring(0, 10), *ring(10, 10), joins])])
    assert {n.uid for n in before.nodes} == {n.uid for n in after.nodes}
    new = {r.uid for r in after.relations} - {r.uid for r in before.relations}
    assert len(new) == 1
    assert {r.uid for r in before.relations} <= {r.uid for r in after.relations}
    assert sorted(p.text == q.text for p, q in zip(before.passages, after.passages, strict=True)) == [False, True]


@st.composite
def labelled(draw: Any) -> list[Part]:
    accesses = st.sampled_from(["", "", "a", "b", "a|b"])
    nodes = [pump(n, draw(accesses)) for n in range(draw(st.integers(3, 12)))]
    pairs = [(a, b) for a in range(len(nodes)) for b in range(a + 1, len(nodes))]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=24))
    relations = [
        Relation(f"Pump:{a}", "FEEDS", f"Pump:{b}", {}, "", union(nodes[a].access, nodes[b].access, draw(accesses)))
        for a, b in chosen
    ]
    return [part("p", nodes, relations)]


@settings(max_examples=150, deadline=None)
@given(labelled(), st.sampled_from([frozenset(), frozenset("a"), frozenset("b"), frozenset("ab")]))
def test_a_reader_gets_the_reports_of_a_world_without_what_they_may_not_see(
    world: list[Part], labels: frozenset[str]
) -> None:
    (whole,) = world
    only = part(
        "p",
        [n for n in whole.nodes if visible(n.access, labels)],
        [r for r in whole.relations if visible(r.access, labels)],
    )

    def got(parts: list[Part]) -> list[tuple[str, str]]:
        made = community_parts(parts)
        reports = ((x.uid, x.text) for p in made for x in p.passages if visible(x.access, labels))
        related = ((r.source, r.target) for p in made for r in p.relations if visible(r.access, labels))
        return sorted([*reports, *related])

    assert got(world) == got([only])
