"""Names that speak of one thing, of none, and of several."""

from __future__ import annotations

import pytest

from serving.retrieval.resolution import ACCEPT, Resolver, readings, words

KNOWN = {
    "Supplier:ac": ["Acme Pumps Inc.", "Acme"],
    "Supplier:bo": ["Borealis Water Systems", "BO"],
    "Supplier:ca": ["Cascade Water Systems", "Old Cascade Pumps"],
    "Supplier:ne": ["NewFlow", "NF"],
}
RESOLVER = Resolver(KNOWN)


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("Acme Pumps Inc.", "Supplier:ac"),
        ("ACME PUMPS, INC", "Supplier:ac"),
        ("  acme   pumps co ltd", "Supplier:ac"),
        ("Acmé Pumps", "Supplier:ac"),
        ("New Flow", "Supplier:ne"),
        ("NEWFLOW CORP", "Supplier:ne"),
        ("Old Cascade Pumps LLC", "Supplier:ca"),
        ("Hillside Works dba Acme Pumps", "Supplier:ac"),
        ("Acme Pumps d/b/a Hillside Works", "Supplier:ac"),
        ("Hillside Works (Acme Pumps)", "Supplier:ac"),
        ("BO", "Supplier:bo"),
    ],
)
def test_spellings_of_one(name: str, uid: str) -> None:
    found = RESOLVER.resolve(name)
    assert found is not None
    assert found.uid == uid
    assert ACCEPT <= found.score <= 1


@pytest.mark.parametrize(
    "name",
    ["", " ", "???", "Inc.", "Water Systems", "Delphi Water Systems", "Hillside Works", "BO Hillside Works", "펌프",
     "Acme Hillside Garden Furniture", "Cascade Garden Furniture"],
)  # fmt: skip
def test_others_are_none(name: str) -> None:
    assert RESOLVER.resolve(name) is None


def test_two_that_fit_equally_are_left_open() -> None:
    twins = Resolver({"Supplier:1": ["Acme Pumps"], "Supplier:2": ["Acme Pumps Ltd"]})
    assert twins.resolve("Acme Pumps") is None


def test_words_of_the_trade_weigh_little() -> None:
    trade = [f"{name} Water Systems" for name in ("Delphi", "Everest", "Fjord", "Garda", "Huron", "Indus", "Jura")]
    rare, common = Resolver(KNOWN).resolve("Borealis Water"), Resolver(KNOWN, trade).resolve("Borealis Water")
    assert rare is not None
    assert common is not None
    assert common.score > rare.score


def test_nothing_known_resolves_nothing() -> None:
    assert Resolver({}).resolve("Acme Pumps") is None
    assert Resolver({"Supplier:x": []}, ["Acme"]).resolve("Acme") is None
    assert Resolver({"Supplier:x": ["?"]}).resolve("?") is None


def test_legal_forms_alone_are_a_name() -> None:
    assert words("The Company") == ("the", "company")
    assert words("O'Hara & Sons, Inc.") == ("ohara", "sons")


def test_readings_of_a_field() -> None:
    assert readings("Acme (Borealis) dba Cascade") == [
        "Acme (Borealis) dba Cascade", "Acme   dba Cascade", "Borealis", "Acme (Borealis)", "Cascade", "Acme",
    ]  # fmt: skip
    assert readings("()") == []


def test_a_long_name_is_read_in_time() -> None:
    found = RESOLVER.resolve("Acme " * 20_000)
    assert found is not None
    assert found.uid == "Supplier:ac"
    assert RESOLVER.resolve("(" * 20_000) is None
