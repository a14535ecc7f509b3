"""Documents become nodes, passages and relations to the things that they name; what changes, changes few parts."""

from __future__ import annotations

from collections.abc import Sequence

from assets.knowledge.documents.document import Document, document
from assets.knowledge.documents.parsed import Section
from assets.knowledge.documents.spec import Cut
from assets.knowledge.linked import Links, document_parts, kind_of_document
from assets.knowledge.things import check
from serving.retrieval.elements import Node
from tests.knowledge import part, pump, site

KINDS = {"RepairNote": "x:RepairNote"}
THINGS = [pump(7), pump(8, "secret"), site("harbour"), Node("Maker:acme", "Maker", "Acme Pumps Inc.", {}, ("ACME",))]


def count(text: str) -> int:
    return len(text.split())


def note(name: str, text: str, *links: tuple[str, str], kind: str = "note", labels: Sequence[str] = ()) -> Document:
    return document(f"document:notes/{name}", "notes", name, kind, [Section((), text)], links=links, labels=labels)


def test_a_document_points_to_what_it_names_by_id_or_name() -> None:
    made = document_parts(
        [note("a", "Pump 7 leaks.", ("Pump", "7"), ("Maker", "ACME PUMPS"), ("Maker", "Nobody Ltd"))],
        THINGS,
        KINDS,
        count,
    )
    relations = {r.target: r for p in made.parts for r in p.relations}
    assert set(relations) == {"Pump:7", "Maker:acme"}
    assert relations["Pump:7"].predicate == "MENTIONS"
    assert relations["Maker:acme"].properties.get("as", "ACME PUMPS") == "ACME PUMPS"
    assert made.unresolved["Maker"] == {"Nobody Ltd": 1}
    (passage,) = [x for p in made.parts for x in p.passages]
    assert set(passage.mentions) == {"Pump:7", "Maker:acme"}
    assert check([part("things", THINGS), *made.parts]) == []


def test_a_relation_to_what_is_hidden_asks_for_its_labels() -> None:
    made = document_parts([note("a", "x", ("Pump", "8"), labels=["plan"])], THINGS, KINDS, count)
    (relation,) = [r for p in made.parts for r in p.relations]
    assert relation.access == "plan|secret"


def test_a_declared_kind_is_a_class_and_any_other_a_document() -> None:
    assert kind_of_document("repair_note", KINDS) == "RepairNote"
    assert kind_of_document("letter", KINDS) == "Document"
    made = document_parts([note("a", "x", ("Site", "harbour"), kind="repair_note")], THINGS, KINDS, count)
    assert [n.uid for p in made.parts for n in p.nodes] == ["RepairNote:notes/a"]
    assert [r.predicate for p in made.parts for r in p.relations] == ["INVOLVES"]


def test_one_more_document_changes_one_part() -> None:
    notes = [note(f"n{i}", f"text {i}") for i in range(300)]
    before = {p.name: p.digest for p in document_parts(notes, THINGS, KINDS, count).parts}
    after = {p.name: p.digest for p in document_parts([*notes, note("new", "x")], THINGS, KINDS, count).parts}
    assert len(before) > 30
    assert sum(after[name] != before.get(name) for name in after) == 1


def test_a_document_that_is_too_long_is_told_and_the_others_stay() -> None:
    long = document(
        "document:notes/long", "notes", "long", "note", [Section((), "word " * 400)], file="notes/long.txt",
        cut=Cut(size=16, overlap=0, max_passages=2),
    )  # fmt: skip
    made = document_parts([long, note("a", "x")], THINGS, KINDS, count)
    assert [n.uid for p in made.parts for n in p.nodes] == ["Document:notes/a"]
    assert "notes/long.txt" in made.problems[0]


def test_a_name_that_two_things_fit_equally_is_left_open() -> None:
    things = [Node("Maker:1", "Maker", "Northern Pumps"), Node("Maker:2", "Maker", "Southern Pumps")]
    links = Links(things, [note("a", "x", ("Maker", "Pumps"))])
    assert links.find("Maker", "Pumps") is None
    assert links.find("Maker", "1") is not None
