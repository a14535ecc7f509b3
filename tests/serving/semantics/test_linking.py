"""Names in a question are found for what they are, and what merely looks like one is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.semantics.linking import MOST, NONE, Linker, names_of
from tests.assets.training.test_pairs import CATALOGUE

NAMES = {
    "harvest": ["harvest"], "mean harvest": ["harvest_mean"], "share of weeds": ["weeds", "weed_rate"], "bed": ["bed"],
    "beds": ["bed"], "수확량": ["harvest"], "평균 수확량": ["harvest_mean"], "화단": ["bed"],
}  # fmt: skip
LINKED = Linker(
    NAMES,
    {
        "bed": ["B6", "AS", "NORTH-7", "Old Orchard Inc.", "Old", "7"],
        "neighbour": ["B6", "Old Orchard"],
        "hour": [7, 15],
        "wet": [True, False],
        "long": ["a b c d e f g h i j"],
    },
    {"hour": ["at {value} o'clock", "{value}시에"], "bed": ["of {value}"]},
)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("harvest of bed B6 in May", "harvest; bed; B6: bed, neighbour"),
        ("Mean HARVEST by beds, beds", "harvest_mean; bed"),
        ("share of weeds", "weed_rate, weeds"),
        ("yield of b6?", "B6: bed, neighbour"),
        ("B6의 평균 수확량은?", "B6: bed, neighbour; harvest_mean"),
        ("화단별 수확량이", "bed; group_by; harvest"),
        ("5월부터 화단별 수확량", "since May: period; bed; group_by; harvest"),
        ("NORTH-7에서 온", "NORTH-7: bed"),
        ("the north 7 patch", "NORTH-7: bed"),
        ("old orchard inc. by hour", "Old Orchard Inc.: bed"),
        ("Old Orchard and Old", "Old Orchard: neighbour; Old: bed"),
        ("as of May, and AS", "AS: bed"),
        ("the 7 patches of 3, true or false", NONE),
        ("the 7 patches at 15 o'clock or at 16 o'clock", "15: hour"),
        ("7시에 화단", "7: hour; bed"),
        ("", NONE),
    ],
)
def test_values_are_told_with_their_dimensions(question: str, told: str) -> None:
    assert LINKED(question) == told


def test_values_are_known_as_the_data_spells_them() -> None:
    assert LINKED.values("harvest of b6 and north 7 in may") == {"B6": ["bed", "neighbour"], "NORTH-7": ["bed"]}
    assert LINKED.values("harvest") == {}


def test_metrics_are_told_apart_from_dimensions_and_from_what_may_be_several() -> None:
    linked = Linker(NAMES, {}, metrics=["harvest", "harvest_mean", "weeds"])
    assert linked.metrics("mean harvest, harvest, share of weeds by bed") == ["harvest_mean", "harvest"]


def test_no_more_are_told_than_a_prompt_has_room_for() -> None:
    linked = Linker({}, {"bed": [f"X{n}" for n in range(50)]})
    assert linked(" ".join(f"X{n}" for n in range(50))).count(":") == MOST


@given(
    st.lists(st.from_regex(r"[A-Z][A-Z0-9]{1,3}(-[A-Z]{2,3})?", fullmatch=True), min_size=1, max_size=8, unique=True),
    st.text(alphabet="abcdefgh은는 ?", max_size=30),
)
def test_a_value_that_is_named_is_found_whatever_stands_around_it(values: list[str], around: str) -> None:
    linked = Linker({}, {"bed": values})
    for value in values:
        assert f"{value}: bed" in linked(f"{around} | {value}, {around}").split("; ")


def test_what_the_catalogue_declares_is_linked() -> None:
    linked = Linker(names_of(CATALOGUE), {})
    assert linked("the sum of harvest by gardeners") == "harvest; gardener"
    assert linked("정원사별 harvest 합계") == "gardener; group_by; harvest"
    assert linked("litres per bed") == "litres; bed"
