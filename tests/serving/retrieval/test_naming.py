"""Things that a question names by a part of their name."""

from __future__ import annotations

from serving.retrieval.elements import Node, Relation
from serving.retrieval.naming import Names
from serving.retrieval.structured import Entity

NODES = [
    Node("Maker:1", "Maker", "Acme Pumps Inc."),
    Node("Maker:2", "Maker", "Blue Valves Ltd.", {}, ("Bluev",)),
    Node("Maker:3", "Maker", "Hidden Acorn Works", {}, (), "plan"),
    Node("Site:1", "Site", "Port Blue Harbour"),
    Node("Site:2", "Site", "Harbour Lane"),
    Node("Run:1", "Run", "Zebra"),
]
RELATIONS = [
    *(Relation(f"Run:{n}", "AT", "Site:1") for n in range(30)),
    *(Relation(f"Run:{n}", "AT", "Site:2", {}, "", "plan") for n in range(5)),
]
NAMES = Names(NODES, RELATIONS, {"Maker", "Site"})


def found(question: str, labels: frozenset[str] = frozenset(), known: tuple[Entity, ...] = ()) -> set[str]:
    return {entity.uid for entity in NAMES.find(question, known, labels)}


def test_a_word_that_one_thing_of_a_kind_has_in_its_name_names_it() -> None:
    assert found("which pumps has Acme made?") == {"Maker:1"}
    assert found("what did Blue make?") == {"Maker:2", "Site:1"}  # one of each kind: the query says which is meant
    assert found("what lies in Port Blue?") == {"Site:1"}


def test_a_word_that_several_have_names_the_one_that_is_far_better_known_to_the_asker() -> None:
    assert found("what is at the Harbour?") == {"Site:1"}
    assert found("what is at the Harbour?", frozenset({"plan"})) == set()  # both are known then


def test_a_sentences_first_word_names_nothing() -> None:
    assert found("Lane by lane, what is there?") == set()
    assert found("what is there? Lane by lane.") == set()


def test_only_kinds_that_are_asked_for_and_things_that_are_seen_are_named() -> None:
    assert found("who began the Zebra?") == set()
    assert found("who owns Acorn?") == set()
    assert found("who owns Acorn?", frozenset({"plan"})) == {"Maker:3"}


def test_what_is_known_already_is_not_named_again() -> None:
    assert found("which pumps has Acme made?", known=(Entity("Maker:1", "Maker", "Acme"),)) == set()


def test_hostile_and_empty_questions_name_nothing() -> None:
    for question in ("", "?", "A", "Ω" * 5000, "'; DROP " * 400):
        assert found(question) == set()
