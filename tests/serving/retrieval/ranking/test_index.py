"""The index: what is found, why, and that its files are whole or refused."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.retrieval.elements import Node, Passage, Relation
from serving.retrieval.ranking.index import METHODS, Found, Index, Parameters
from tests.serving.retrieval.ranking.worlds import EVERYONE, NODES, PASSAGES, RELATIONS

QUESTIONS = (
    "Where was the founder of Lindqvist Hydraulics born?", "Why was P-7 replaced?", "bearing seal",
    "부산공장에서 무엇을 했나?",    "Where did Astrid Okonkvo study?", "Valve V12 or pump P-7?", "", "?!",
)  # fmt: skip


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.build(PASSAGES, NODES, RELATIONS)


def uids(found: Found) -> list[str]:
    return [hit.passage.uid for hit in found.passages]


def test_a_second_passage_is_found_through_what_the_first_mentions(index: Index) -> None:
    found = index.search("Where was the founder of Lindqvist Hydraulics born?", EVERYONE, limit=3)
    assert {"c2", "c3"} <= set(uids(found))
    assert "lexical" not in next(h for h in found.passages if h.passage.uid == "c3").ranks or len(found.passages) == 3
    assert index.path("c3", ["supplier:lindqvist"], EVERYONE) == ("supplier:lindqvist", "c2", "doc:3", "c3")


def test_ranks_say_which_method_had_a_passage_where(index: Index) -> None:
    first = index.search("bearing seal wears", EVERYONE).passages[0]
    assert first.passage.uid == "c4"
    assert first.ranks["lexical"] == 1
    dense = {"c5": 0.9, "c1": 0.1, "unknown": 3.0}
    alone = index.search("bearing seal wears", EVERYONE, dense=dense, methods=["dense"])
    assert [(h.passage.uid, h.ranks) for h in alone.passages] == [("c5", {"dense": 1}), ("c1", {"dense": 2})]


@pytest.mark.parametrize("method", ["pagerank", "lexical", "names"])
def test_each_method_ranks_alone(index: Index, method: str) -> None:
    hits = index.search("Who founded Lindqvist Hydraulics?", EVERYONE, methods=[method]).passages
    assert [hit.ranks for hit in hits] == [{method: place} for place in range(1, len(hits) + 1)]
    assert hits[0].passage.uid == "c2"


def test_a_method_without_scores_is_left_out(index: Index) -> None:
    assert index.search("bearing", EVERYONE, methods=["dense"]).passages == ()
    assert all("dense" not in hit.ranks for hit in index.search("bearing", EVERYONE).passages)


@pytest.mark.parametrize(
    ("question", "uid", "how"),
    [
        ("What happened to P-7?", "pump:p7", "name"),
        ("what happened to p7", "pump:p7", "name"),
        ("What happened to P 7?", "pump:p7", "name"),
        ("Who runs HW Nord?", "site:harbour", "alias"),
        ("When was Astrid Okonkwo born?", "doc:3", "title"),
        ("When was Astrid Okonkvo born?", "doc:3", "spelling"),
        ("Who founded Lindquist Hydraulic's?", "supplier:lindqvist", "spelling"),
        ("Who founded LINDQVIST HYDRAULICS?", "supplier:lindqvist", "name"),
        ("부산공장에서 무엇을 교체했나?", "doc:7", "title"),
    ],
)
def test_names_are_found(index: Index, question: str, uid: str, how: str) -> None:
    linked = {(entity.uid, entity.how) for entity in index.search(question, EVERYONE).entities}
    assert (uid, how) in linked


def test_codes_are_never_mended(index: Index) -> None:
    linked = [entity.uid for entity in index.search("What happened to P-9 and to V13?", EVERYONE).entities]
    assert linked == []


def test_what_was_matched_stands_in_the_question(index: Index) -> None:
    linked = index.search("Who runs the  HW nord's pumps?", EVERYONE).entities
    assert [(entity.name, entity.matched) for entity in linked] == [("Harbour Works", "HW nord's")]


def test_korean_passages_are_found_by_characters(index: Index) -> None:
    assert index.search("베어링 교체", EVERYONE).passages[0].passage.uid == "c6"


def test_a_relation_is_walked_and_explained(index: Index) -> None:
    found = index.search("Which pump is from the supplier Lindqvist Hydraulics?", EVERYONE)
    assert "c1" in uids(found)
    assert index.path("c1", ["supplier:lindqvist"], EVERYONE) == ("supplier:lindqvist", "pump:p7", "c1")


def test_namesakes_are_told_apart_by_the_words_beside_them() -> None:
    passages = [
        Passage("a", "doc:a", "Delta (river)", "Delta flows to the sea."),
        Passage("b", "doc:b", "Delta (pump)", "Delta lifts water."),
    ]
    index = Index.build(passages)
    assert [entity.uid for entity in index.search("How long is the river Delta?", EVERYONE).entities] == ["doc:a"]
    assert {entity.uid for entity in index.search("What is Delta?", EVERYONE).entities} == {"doc:a", "doc:b"}


@pytest.mark.parametrize("question", ["", "   ", "?!", "the of and", "\x00"])
def test_a_question_that_says_nothing_finds_nothing(index: Index, question: str) -> None:
    assert index.search(question, EVERYONE) == Found()


@pytest.mark.parametrize("labels", [EVERYONE, frozenset({"safety"}), frozenset({"*"})])
def test_an_empty_index_finds_nothing(labels: frozenset[str], tmp_path: Path) -> None:
    index = Index.build([])
    index.save(tmp_path / "index")
    for each in (index, Index.load(tmp_path / "index")):
        assert each.search("Who founded Lindqvist Hydraulics?", labels) == Found()
        assert each.path("c1", ["pump:p7"], labels) == ()


def test_nodes_without_passages_are_linked() -> None:
    found = Index.build([Passage("c", "d", "", "")], NODES).search("Where is Harbour Works?", EVERYONE)
    assert [entity.uid for entity in found.entities] == ["site:harbour"]


def test_a_question_of_ten_thousand_letters_is_answered(index: Index) -> None:
    started = time.perf_counter()
    found = index.search(("Where was the foundr of Lindqvist Hydraulics born? " * 200)[:10_000], EVERYONE)
    assert {"c2", "c3"} <= set(uids(found))
    index.search("x" * 10_000, EVERYONE)
    index.search("가" * 10_000, EVERYONE)
    assert time.perf_counter() - started < 20


def test_limits(index: Index) -> None:
    assert index.search("bearing seal", EVERYONE, limit=0).passages == ()
    assert len(index.search("bearing seal", EVERYONE, limit=1).passages) == 1
    with pytest.raises(ClearwayError, match="negative"):
        index.search("bearing seal", EVERYONE, limit=-1)
    with pytest.raises(ClearwayError, match="'magic'"):
        index.search("bearing seal", EVERYONE, methods=["magic"])


def test_rrf_fuses_by_places() -> None:
    index = Index.build(PASSAGES, NODES, RELATIONS, Parameters(fusion="rrf"))
    assert index.search("bearing seal wears", EVERYONE).passages[0].passage.uid == "c4"


@pytest.mark.parametrize("wrong", [{"restart": 0.0}, {"restart": 1.5}, {"focus": -1.0}, {"fusion": "magic"}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ClearwayError, match=next(iter(wrong))):
        replace(Parameters(), **wrong)  # type: ignore[arg-type]


def test_a_uid_stands_once() -> None:
    with pytest.raises(ClearwayError, match="c1"):
        Index.build([PASSAGES[0], PASSAGES[0]])
    with pytest.raises(ClearwayError, match="pump:p7"):
        Index.build(PASSAGES, [NODES[1], NODES[1]])


def test_the_order_in_which_elements_come_changes_nothing(index: Index) -> None:
    other = Index.build(PASSAGES[::-1], NODES[::-1], RELATIONS[::-1])
    for question in QUESTIONS:
        assert other.search(question, EVERYONE) == index.search(question, EVERYONE)


def test_a_passage_without_document_is_its_own(index: Index) -> None:
    passages = [
        Passage("a", "", "Red Ravens", "Red Ravens met Ada Lund."),
        Passage("b", "", "Ada Lund", "An engineer."),
    ]
    alone = Index.build(passages)
    assert set(uids(alone.search("Who met the Red Ravens?", EVERYONE))) == {"a", "b"}
    assert alone.path("b", ["a"], EVERYONE) == ("a", "a", "b", "b")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_similarities_that_are_none_are_ignored(index: Index, value: float) -> None:
    found = index.search("bearing seal", EVERYONE, dense={"c1": value, "c4": 0.5})
    assert found.passages[0].passage.uid == "c4"
    assert all("dense" not in hit.ranks for hit in found.passages if hit.passage.uid == "c1")


def test_dangling_relations_and_mentions_are_ignored() -> None:
    passage = replace(PASSAGES[0], mentions=("pump:p7", "pump:gone"))
    index = Index.build([passage], NODES, [*RELATIONS, Relation("pump:p7", "NEXT_TO", "pump:gone")])
    assert index.search("P-7", EVERYONE).passages[0].passage.mentions == ("pump:p7",)


def test_save_and_load_answer_alike(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "index"
    for _ in range(2):  # the second replaces the first
        index.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["index"]
    loaded = Index.load(folder)
    assert loaded.whole.parameters == index.whole.parameters
    for question in QUESTIONS:
        assert loaded.search(question, EVERYONE) == index.search(question, EVERYONE)


FILES = ("manifest.json", "passages.jsonl", "nodes.jsonl", "relations.jsonl", "entities.jsonl", "names.jsonl",
         "mentions.jsonl", "terms.json", "arrays.npz")  # fmt: skip


@pytest.mark.parametrize("harm", ["gone", "half", "flipped", "empty"])
@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_refused(index: Index, tmp_path: Path, name: str, harm: str) -> None:
    index.save(tmp_path / "index")
    file = tmp_path / "index" / name
    content = file.read_bytes()
    if harm == "gone":
        file.unlink()
    elif harm == "flipped":
        file.write_bytes(content[:-4] + bytes([content[-4] ^ 0xFF]) + content[-3:] if len(content) > 3 else b"x")
    else:
        file.write_bytes(content[: len(content) // 2] if harm == "half" else b"")
    if file.exists() and file.read_bytes() == content:
        pytest.skip("an empty file is whole")
    with pytest.raises(ClearwayError, match=r"manifest\.json|digest|cannot be read") as caught:
        Index.load(tmp_path / "index")
    assert "again" in str(caught.value)


def test_another_version_and_a_missing_folder_are_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ClearwayError, match=r"manifest\.json"):
        Index.load(tmp_path / "nowhere")
    index.save(tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"version": 1', b'"version": 99'))
    with pytest.raises(ClearwayError, match="99"):
        Index.load(tmp_path / "index")


def test_all_methods_have_a_weight() -> None:
    assert [Parameters().weight(name) >= 0 for name in METHODS] == [True] * 4


def test_a_node_with_a_common_word_as_name_is_not_taken_from_a_sentence() -> None:
    passages = [
        Passage(f"c{i}", f"d{i}", f"Report {i}", "The pump was checked at the place of work.") for i in range(9)
    ]
    index = Index.build(passages, [Node("place:work", "Place", "Place of Work"), Node("team:x", "Team", "Red Ravens")])
    assert [e.uid for e in index.search("Which place of work have the Red Ravens?", EVERYONE).entities] == ["team:x"]
    assert [e.uid for e in index.search("Where do red ravens meet?", EVERYONE).entities] == ["team:x"]
