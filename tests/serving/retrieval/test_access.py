"""Labels of access: who holds all of an element's labels sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ClearwayError
from serving.retrieval.access import EVERYTHING, joined, seen, split, union, visible

LABELS = st.frozensets(st.sampled_from(["a", "b", "c", "d"]))


@given(LABELS, LABELS)
def test_an_element_is_seen_by_who_holds_all_its_labels(own: frozenset[str], held: frozenset[str]) -> None:
    assert split(joined(own)) == own
    assert visible(joined(own), held) == (own <= held)
    assert visible(joined(own), held | {EVERYTHING})


@given(LABELS, LABELS, LABELS)
def test_what_is_made_of_two_asks_for_the_labels_of_both(
    a: frozenset[str], b: frozenset[str], held: frozenset[str]
) -> None:
    both = union(joined(a), joined(b))
    assert visible(both, held) == (visible(joined(a), held) and visible(joined(b), held))


@given(st.lists(LABELS, max_size=6), LABELS)
def test_a_store_is_asked_for_exactly_what_is_seen(accesses: list[frozenset[str]], held: frozenset[str]) -> None:
    every = {joined(one) for one in accesses}
    assert seen(every, held) == {one for one in every if visible(one, held)}


@pytest.mark.parametrize("label", ["", "A", "a|b", "a b", "*", "x" * 33, "-a"])
def test_a_label_that_could_be_read_as_two_is_refused(label: str) -> None:
    with pytest.raises(ClearwayError, match="lower-case"):
        joined([label])
