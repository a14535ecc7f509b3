"""Real questions over a real corpus, where it lies beside the project; and how their rankings are judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.multihop import FOLDER, METHODS, Question, passages, published, quality, questions, ranked
from benchmarks.multihop_tuning import GRID, held_out
from serving.retrieval.ranking.index import METHODS as ALL
from serving.retrieval.ranking.index import Index, Parameters

ASKED = [
    Question("one?", frozenset({"A", "B"}), {"theirs": ("A", "C", "B")}),
    Question("two?", frozenset({"D"}), {"theirs": ("E", "D")}),
]


def test_quality() -> None:
    assert vars(published(ASKED, "theirs")) == {"perfect": 1.0, "recall2": 0.75, "recall5": 1.0}
    assert quality(ASKED, [["A"] * 8 + ["B"], ["E"]]).perfect == 0


def test_a_point_is_never_chosen_by_the_questions_that_it_answers() -> None:
    # Each of ten points is wrong on one question of its own, so that what is best on the others fails on the fold.
    perfect = 1 - np.eye(10)
    assert held_out(perfect, perfect, 3) == [0.5] * 3
    same = np.vstack([np.ones(10), np.zeros(10)])
    assert held_out(same, same, 3) == [1.0] * 3


def test_the_defaults_stand_in_the_middle_of_the_grid() -> None:
    middle = {name: values[len(values) // 2] for name, values in GRID.items()}
    assert {name: getattr(Parameters(), name) for name in GRID} == middle


@pytest.mark.integration
@pytest.mark.skipif(not (FOLDER / "corpus.json").exists(), reason=f"{FOLDER} is not there")
def test_most_questions_get_all_their_passages() -> None:
    asked = questions(FOLDER)
    index = Index.build(passages(FOLDER))
    assert quality(asked, ranked(index, asked, ALL)).perfect >= 0.94
    assert quality(asked, ranked(index, asked, METHODS["BM25 alone"])).perfect < 0.5
    lower = [Question(q.text.lower(), q.gold, q.published) for q in asked]
    assert quality(asked, ranked(index, lower, ALL)).perfect >= 0.9
