"""The methods one by one."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.retrieval.ranking import dictionary, fuse, graph, lexical, spelling
from serving.retrieval.ranking.text import folded, noun_pairs, proper_names, stem, terms, tokens


def words(text: str) -> list[str]:
    return [token.word for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Stanisław's Æon", ["stanislaw", "aeon"]),
        ("Boso 's queen", ["boso", "queen"]),
        ("O’Brien can't", ["obrien", "cant"]),
        ("N123AA P-7", ["n123aa", "p", "7"]),
        ("서울에서", ["서", "울", "에", "서"]),
        ("", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(max_size=60))
def test_any_text_has_tokens_that_lie_in_it(text: str) -> None:
    found = tokens(text)
    assert all(0 <= token.start < token.end <= len(text) for token in found)
    assert all(one.end <= two.start for one, two in pairwise(found))
    list(terms(found)), list(proper_names(found)), list(noun_pairs(found))


def test_hangul_stays_composed() -> None:
    assert folded("베어링") == "베어링"


def test_terms_hold_codes_whole_and_korean_as_bigrams() -> None:
    assert list(terms(tokens("the pumps of P-7"))) == ["pump", "p", "7", "p7"]
    assert list(terms(tokens("베어링 물"))) == ["베어", "어링", "물"]


@pytest.mark.parametrize(
    ("word", "expected"), [("cities", "city"), ("pumps", "pump"), ("glass", "glass"), ("v12s", "v12s")]
)
def test_stem(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_names_by_rule() -> None:
    text = "The Maid of the Mill met Edwin L. Marin in Paris. Then N123AA left; an old bearing seal broke."
    found = tokens(text)
    names = [text[found[a].start : found[b - 1].end] for a, b in proper_names(found)]
    assert names == ["Maid of the Mill", "Edwin L. Marin", "Paris", "N123AA"]
    pairs = [text[found[a].start : found[b - 1].end] for a, b in noun_pairs(found)]
    assert pairs == ["old bearing", "bearing seal", "seal broke"]


def test_bm25_is_the_formula() -> None:
    found = lexical.fit([["seal", "seal", "pump"], ["pump"], []], k1=1.2, b=0.75)
    rarity = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    damping = 1.2 * (1 - 0.75 + 0.75 * 3 / (4 / 3))
    assert found.scores(["seal", "seal", "unknown"]) == pytest.approx(
        [rarity * 2 * 2.2 / (2 + damping), 0, 0], rel=1e-6
    )
    assert (found.frequency("pump"), found.frequency("unknown")) == (2, 0)
    assert found.scores([]).tolist() == [0, 0, 0]


def test_the_longest_name_is_taken() -> None:
    names = dictionary.build([(0, "Harbour", "name"), (1, "Harbour Works", "name"), (2, "Works Council", "alias")])
    found = tokens("The Harbour Works Council of Harbour")
    assert [(m.start, m.end, m.entries[0].entity) for m in names.matches(found)] == [(1, 3, 1), (5, 6, 0)]


def test_a_proper_name_is_not_read_into_common_words() -> None:
    names = dictionary.build([(0, "Harbour", "name"), (1, "bearing seal", "name")])
    assert [m.entries[0].entity for m in names.matches(tokens("a harbour with a Bearing Seal"))] == [1]


def test_variants() -> None:
    assert {" ".join(key) for key, _, _ in dictionary.variants("Delta (2017 film)")} == {"delta 2017 film", "delta"}
    assert {" ".join(key) for key, _, _ in dictionary.variants("John Wallop, 2nd Earl")} == {
        "john wallop 2nd earl",
        "john wallop",
    }
    carrier = {(" ".join(key), " ".join(cut)) for key, cut, _ in dictionary.variants("United Air Lines Co., Inc.")}
    assert {("united air lines co inc", ""), ("united air lines", "co inc")} <= carrier
    assert {" ".join(key) for key, _, _ in dictionary.variants("Delta Inc.")} == {"delta inc"}, (
        "one word says too little"
    )
    assert {" ".join(key) for key, _, _ in dictionary.variants("P-7")} == {"p 7", "p7"}
    assert {" ".join(key) for key, _, _ in dictionary.variants("P7")} == {"p 7", "p7"}
    assert list(dictionary.variants("The")) == list(dictionary.variants("")) == []


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("okonkvo", [(1, "okonkwo")]), ("okonwko", [(1, "okonkwo")]), ("okonkw", [(1, "okonkwo")]), ("okunkvo", []),
        ("hydrulc", []),
        ("hydrauliks", [(1, "hydraulics")]), ("hidraulicks", [(2, "hydraulics")]), ("v13", []), ("luns", []),
    ],
)  # fmt: skip
def test_spelling(written: str, expected: list[tuple[int, str]]) -> None:
    assert spelling.build(["okonkwo", "hydraulics", "v12345", "lund"]).near(written) == expected


@given(
    st.lists(st.text("abc", min_size=4, max_size=11), min_size=1, max_size=8), st.text("abc", min_size=4, max_size=11)
)
def test_neighbourhoods_miss_no_word_within_one_edit(known: list[str], asked: str) -> None:
    near = {word for edits, word in spelling.build(known).near(asked) if edits == 1}
    expected = {w for w in known if spelling.allowed(w) and w != asked and spelling.distance(asked, w, 1) == 1}
    assert near == expected


def test_pagerank_is_the_fixed_point() -> None:
    edges = {(0, 1): 1.0, (1, 2): 3.0, (2, 3): 1.0}
    made = graph.build(edges, 5)
    seeds = np.array([1.0, 0, 0, 0, 1.0])
    rank = made.pagerank(seeds, 0.2)
    assert rank.sum() == pytest.approx(1)
    moved = made.flow @ rank
    assert rank == pytest.approx(0.8 * moved + (1 - 0.8 * moved.sum()) * seeds / 2, abs=1e-6)
    assert made.pagerank(np.zeros(5), 0.2).tolist() == [0] * 5


def test_a_rewritten_node_sends_the_walk_elsewhere() -> None:
    made = graph.build({(0, 1): 1.0, (0, 2): 1.0}, 3)
    seeds = np.array([1.0, 0, 0])
    plain = made.pagerank(seeds, 0.3)
    assert plain[1] == pytest.approx(plain[2])
    turned = made.pagerank(seeds, 0.3, {0: np.array([3.0, 1.0])})
    assert turned[1] == pytest.approx(3 * turned[2], rel=1e-4)
    assert turned.sum() == pytest.approx(1)


def test_shortest_path() -> None:
    made = graph.build({(0, 3): 1.0, (1, 3): 1.0, (1, 2): 1.0}, 5)
    assert graph.shortest_path(made, [0], 2) == [0, 3, 1, 2]
    assert graph.shortest_path(made, [0, 1], 2) == [1, 2]
    assert graph.shortest_path(made, [2], 2) == [2]
    assert graph.shortest_path(made, [0], 4) == graph.shortest_path(made, [], 2) == []


def test_places_and_fusion() -> None:
    scores = np.array([0.5, 2.0, 0.0, 2.0])
    assert fuse.places(scores).tolist() == [3, 1, 0, 2]
    weights = {"one": 1.0, "two": 0.5}
    both = {"one": scores, "two": np.array([0.0, 0, 4, 0])}
    assert fuse.fused(both, weights, "sum").tolist() == [0.25, 1, 0.5, 1]
    assert fuse.fused(both, weights, "rrf") == pytest.approx([1 / 63, 1 / 61, 0.5 / 61, 1 / 62])
    assert fuse.fused({}, {}, "sum").tolist() == []
