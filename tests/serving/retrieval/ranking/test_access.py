"""A caller gets what an index of only the elements that they see would answer, to the last digit."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.retrieval.access import visible
from serving.retrieval.elements import Node, Passage, Relation
from serving.retrieval.ranking.index import VIEWS as KEPT
from serving.retrieval.ranking.index import Found, Index
from tests.serving.retrieval.ranking.worlds import EVERYONE, NODES, PASSAGES, RELATIONS

ACCESSES = st.sampled_from(["", "", "a", "b", "a|b", "c"])
LABELS = st.frozensets(st.sampled_from(["a", "b", "c"]))
NAMES = ("Ada Lund", "Lund", "P-7", "Red Raven", "Raven (bird)", "bearing seal", "부산공장", "Lundin")
WORDS = (
    *NAMES,
    "wears",
    "bearing",
    "pump",
    "the",
    "of",
    "was",
    "built",
    "by",
    "Ada",
    "founder",
    "P7",
    "부산공장에서",
    "Raven",
)
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)
NODE_UIDS = tuple(f"n{i}" for i in range(5))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Passage], list[Node], list[Relation]]:
    nodes = [
        Node(uid, "Thing", draw(st.sampled_from(NAMES)), access=draw(ACCESSES),
             aliases=tuple(draw(st.lists(st.sampled_from(NAMES), max_size=1))))
        for uid in draw(st.lists(st.sampled_from(NODE_UIDS), unique=True))
    ]  # fmt: skip
    passages = [
        Passage(f"c{i}", draw(st.sampled_from(["d1", "d2", "n1", ""])), draw(st.sampled_from(("", *NAMES))),
                draw(SENTENCES), access=draw(ACCESSES),
                mentions=tuple(draw(st.lists(st.sampled_from(NODE_UIDS), max_size=2))))
        for i in range(draw(st.integers(0, 6)))
    ]  # fmt: skip
    ends = st.sampled_from(NODE_UIDS)
    relations = [
        Relation(draw(ends), "R", draw(ends), key=str(i), access=draw(ACCESSES)) for i in range(draw(st.integers(0, 4)))
    ]
    return passages, nodes, relations


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds(), LABELS, SENTENCES, st.dictionaries(st.sampled_from([f"c{i}" for i in range(6)]), st.floats(0, 1)))
def test_non_interference(
    world: tuple[list[Passage], list[Node], list[Relation]],
    labels: frozenset[str],
    question: str,
    dense: dict[str, float],
) -> None:
    passages = [p for p in world[0] if visible(p.access, labels)]
    nodes = [n for n in world[1] if visible(n.access, labels)]
    relations = [r for r in world[2] if visible(r.access, labels)]
    all_of_it, theirs = Index.build(*world), Index.build(passages, nodes, relations)
    found = all_of_it.search(question, labels, dense=dense)
    assert found == theirs.search(question, labels, dense=dense)
    shown = [hit.passage for hit in found.passages]
    seen = {uid for p in shown for uid in p.mentions} | {entity.uid for entity in found.entities}
    assert {p.uid for p in shown} <= {p.uid for p in passages}
    assert seen <= {n.uid for n in nodes} | {p.document or p.uid for p in passages}
    for passage in world[0]:
        path = all_of_it.path(passage.uid, [*NODE_UIDS, "d1"], labels)
        assert path == theirs.path(passage.uid, [*NODE_UIDS, "d1"], labels)
        assert path == () or visible(passage.access, labels)


def labelled(access: str) -> Index:
    passages = [Passage(p.uid, p.document, p.title, p.text, access=access) for p in PASSAGES]
    return Index.build(passages, [Node(n.uid, n.kind, n.name, access=access) for n in NODES], RELATIONS)


def test_who_sees_nothing_finds_nothing() -> None:
    index = labelled("safety")
    assert index.search("Why was P-7 replaced?", EVERYONE) == Found()
    assert index.path("c1", ["pump:p7"], EVERYONE) == ()
    assert index.search("Why was P-7 replaced?", frozenset({"safety"})).passages
    assert index.search("Why was P-7 replaced?", frozenset({"*"})) == index.search(
        "Why was P-7 replaced?", frozenset({"safety"})
    )


def test_labels_hold_after_loading(tmp_path: Path) -> None:
    mixed = [
        Passage(p.uid, p.document, p.title, p.text, access="safety" if i % 2 else "") for i, p in enumerate(PASSAGES)
    ]
    index = Index.build(mixed, NODES, RELATIONS)
    index.save(tmp_path / "index")
    loaded = Index.load(tmp_path / "index")
    for labels in (EVERYONE, frozenset({"safety"})):
        question = "Where was the founder of Lindqvist Hydraulics born?"
        assert loaded.search(question, labels) == index.search(question, labels)


def test_a_relation_needs_both_ends() -> None:
    nodes = [Node(n.uid, n.kind, n.name, access="safety" if n.uid == "pump:p7" else "") for n in NODES]
    index = Index.build(PASSAGES, nodes, RELATIONS)
    assert index.path("c1", ["supplier:lindqvist"], frozenset({"safety"})) == ("supplier:lindqvist", "pump:p7", "c1")
    assert index.path("c1", ["supplier:lindqvist"], EVERYONE) != ("supplier:lindqvist", "pump:p7", "c1")
    assert index.path("c1", ["pump:p7"], EVERYONE) == ()


def test_few_views_are_kept_and_one_is_shared_by_labels_that_see_the_same() -> None:
    labels = [f"l{i}" for i in range(KEPT + 3)]
    passages = [Passage(name, f"d:{name}", f"Title {name}", "a bearing seal", access=name) for name in labels]
    index = Index.build(passages)
    for name in labels:
        assert [h.passage.uid for h in index.search("bearing", frozenset({name})).passages] == [name]
    assert len(index._views) == KEPT
    first = index.view(frozenset({labels[-1]}))
    assert index.view(frozenset({labels[-1], "of-no-element"})) is first
    assert index.view(frozenset(labels)) is index.whole
