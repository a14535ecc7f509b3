"""Questions and their replies: right by construction, reproducible, and nothing held out is trained on."""

from __future__ import annotations

import json
import random
import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from assets.training.llm.pairs import (
    HELD_COMBINATIONS,
    HELD_VALUES,
    Pair,
    _particles,
    all_pairs,
    held,
    pairs,
    phrases,
)
from assets.training.llm.times import any_stretch
from assets.training.llm.vocabulary import LANGUAGES, Language, vocabulary
from serving.errors import DeclarationError
from serving.semantics.catalogue import Catalogue, Dimension, Metric
from serving.semantics.period import days_of
from serving.semantics.query import MetricQuery, QueryError, dated, resolve
from serving.semantics.reply import Refusal, read, schema, write

FIRST, LAST = date(2020, 1, 1), date(2020, 12, 31)
DIMENSIONS = {
    name: Dimension(name, f"bed__{name}", name.title(), "", {"words": {"en": [[name, f"{name}s"]], "ko": [ko]}})
    for name, ko in (("bed", "화단"), ("crop", "작물"), ("gardener", "정원사"), ("soil", "흙"))
}
VALUES = {name: [f"{name}-{i}" for i in range(12)] for name in DIMENSIONS}


def catalogue(**meta: object) -> Catalogue:
    metrics = {}
    for name, better in (("harvest", "higher"), ("losses", "lower"), ("litres", None), ("hours", None)):
        declared = {"words": {"en": [name, f"sum of {name}"], "ko": [f"{name} 합계"]}, "better": better, **meta}
        known = {d.qualified: d for d in DIMENSIONS.values()}
        metrics[name] = Metric(name, name.title(), "", "simple", (), False, ("beds",), known, declared)
    return Catalogue(metrics)


CATALOGUE = catalogue()
VOCABULARY = vocabulary(CATALOGUE, VALUES, FIRST, LAST)


def combinations(pair: Pair) -> list[str]:
    if isinstance(pair.reply, Refusal):
        return []
    return [f"{metric}/{dimension}" for metric in pair.reply.metrics for dimension in pair.reply.group_by]


def filtered(pair: Pair) -> list[str]:
    if isinstance(pair.reply, Refusal):
        return []
    return [f"{metric}/{item.dimension}" for metric in pair.reply.metrics for item in pair.reply.where]


def named(pair: Pair) -> list[str]:
    if isinstance(pair.reply, Refusal):
        return []
    return [f"{item.dimension}={value}" for item in pair.reply.where for value in item.values]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_held_out_is_asked_in_its_split_only(language: Language) -> None:
    train = pairs(VOCABULARY, language, "train", 800, 1)
    assert len(train) == 800
    assert not any(held(c, HELD_COMBINATIONS) for pair in train for c in combinations(pair))
    assert not any(held(c, HELD_COMBINATIONS) for pair in train for c in filtered(pair))
    assert not any(held(v, HELD_VALUES) for pair in train for v in named(pair))
    combined = pairs(VOCABULARY, language, "combination", 100, 1)
    assert combined
    assert all(held(c, HELD_COMBINATIONS) for pair in combined for c in combinations(pair))
    valued = pairs(VOCABULARY, language, "value", 100, 1)
    assert valued
    assert all(named(pair) and all(held(v, HELD_VALUES) for v in named(pair)) for pair in valued)
    kinds = {pair.kind for pair in train}
    assert kinds == {"value", "by", "one", "some", "trend", "two", "refusal"}
    reasons = {pair.reply.refuse for pair in train if isinstance(pair.reply, Refusal)}
    assert reasons == set(phrases(language)["refusals"])


def test_what_is_held_out_reaches_into_the_data() -> None:
    for split in ("phrasing", "combination", "value"):
        for pair in pairs(VOCABULARY, "en", split, 150, 6):
            assert pair.today == LAST
            if isinstance(pair.reply, MetricQuery):
                asked = dated(pair.reply, LAST)
                assert asked.since is None or asked.since <= LAST
                assert asked.until is None or asked.until > FIRST


def test_an_unseen_phrasing_is_written_by_no_seen_one() -> None:
    for language in LANGUAGES:
        for kind, both in phrases(language).items():
            if isinstance(both, dict) and "unseen" in both:
                assert not set(both["seen"]) & set(both["unseen"]), (language, kind)
    seen = {pair.question for pair in pairs(VOCABULARY, "en", "train", 500, 1) if pair.kind == "by"}
    unseen = {pair.question for pair in pairs(VOCABULARY, "en", "phrasing", 200, 1) if pair.kind == "by"}
    assert unseen
    assert all(question.startswith(("List the", "How does the")) for question in unseen)
    assert not any(question.startswith(("List the", "How does the")) for question in seen)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reply_is_a_query_that_the_catalogue_takes_and_comes_back_from_its_text(language: Language) -> None:
    for pair in pairs(VOCABULARY, language, "train", 300, 2):
        assert read(write(pair.reply)) == pair.reply
        if isinstance(pair.reply, MetricQuery):
            resolve(pair.reply, CATALOGUE)
            stands = [str(v) for item in pair.reply.where for v in item.values]
            assert all(value in pair.question for value in stands), pair
            if pair.kind in ("one", "some"):
                assert pair.reply.limit == 1 or str(pair.reply.limit) in pair.question
        assert "{" not in pair.question
        assert "(" not in pair.question, "a particle was left open"


def test_the_same_seed_gives_the_same_pairs_and_no_question_is_in_two_splits() -> None:
    counts = {("en", "train"): 300, ("en", "phrasing"): 100, ("en", "value"): 50, ("ko", "train"): 100}
    first, second = (list(all_pairs(VOCABULARY, counts, 7)) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    assert first != list(all_pairs(VOCABULARY, counts, 8))  # type: ignore[arg-type]
    trained = {pair.question for pair in first if pair.split == "train"}
    assert not trained & {pair.question for pair in first if pair.split != "train"}


def test_what_the_semantic_layer_does_not_take_is_not_asked() -> None:
    asked = pairs(VOCABULARY, "en", "train", 200, 3, lambda query, _: query.grain is None)
    assert asked
    assert all(isinstance(pair.reply, Refusal) or pair.reply.grain is None for pair in asked)


def test_superlatives_are_said_by_their_words_and_the_best_only_where_somebody_said_what_is_better() -> None:
    said = phrases("en")["superlatives"]
    found = set()
    for pair in pairs(VOCABULARY, "en", "train", 2000, 4):
        if isinstance(pair.reply, MetricQuery) and pair.reply.order_by:
            (order,) = pair.reply.order_by
            assert set(said[order]) & set(re.findall(r"\w+", pair.question)), pair.question
            found.add((order, pair.reply.metrics[0]))
    neutral = ("litres", "hours")
    assert found == {
        (order, metric)
        for metric in VOCABULARY.metrics
        for order in said
        if metric not in neutral or order in ("highest", "lowest")
    }


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6), today=st.dates(date(2012, 1, 1), date(2030, 12, 31)))
def test_a_stretch_of_time_has_days_and_words_in_every_language(seed: int, today: date) -> None:
    for language in LANGUAGES:
        stretch = any_stretch(random.Random(seed), today, phrases(language))
        since, until = days_of(stretch.period, today)
        assert since or until
        if since and until:
            assert since < until
        if stretch.kind in ("month", "months", "quarter", "since", "day", "days", "last_days"):
            assert since is not None
            assert since <= today, "what is named without its year has begun"
        for template in phrases(language)["times"][stretch.kind]:
            assert "{" not in template.format(**stretch.slots)


def test_particles_follow_the_sound_before_them() -> None:
    assert _particles("화단은(는) 흙을(를) 보여줘") == "화단은 흙을 보여줘"
    assert _particles("정원사이(가) UA와(과) 7을(를)") == "정원사가 UA와 7을"


def test_words_that_are_not_as_declared_are_named() -> None:
    with pytest.raises(DeclarationError, match=r"metric harvest: config\.meta\.better"):
        vocabulary(catalogue(better="more"), VALUES, FIRST, LAST)


def test_what_is_no_reply_says_what_is_wrong() -> None:
    with pytest.raises(QueryError, match="no JSON"):
        read('{"metrics": ["harvest"')
    with pytest.raises(QueryError, match="metrics"):
        read('{"group_by": ["bed"]}')
    with pytest.raises(QueryError, match="refuse"):
        read('{"refuse": "because"}')
    with pytest.raises(QueryError):
        read('["harvest"]')


def test_every_reply_is_of_the_schema_that_the_model_is_held_to() -> None:
    known = Draft202012Validator(schema(CATALOGUE))
    for pair in pairs(VOCABULARY, "en", "train", 300, 5):
        assert known.is_valid(json.loads(write(pair.reply))), pair
    sound = {"metrics": ["harvest"]}
    for wrong in ({"metrics": ["pears"]}, {"metrics": []}, {"refuse": "because"}, {**sound, "sql": "x"},
                  {**sound, "since": "soon"}, {**sound, "period": "last Tuesday"}):  # fmt: skip
        assert not known.is_valid(wrong), wrong
