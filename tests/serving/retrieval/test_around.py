"""What is around a thing: some of every kind of relation however many there are, and of what is seen alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.retrieval.elements import Node, Part, Passage, Relation
from serving.retrieval.service import Retrieval
from serving.settings import Settings
from tests.knowledge import at, emptied, part, pump, site
from tests.published import beside, published, wanted

pytestmark = pytest.mark.integration
MANY = 180
LABELS: frozenset[str] = frozenset()


@pytest.fixture
def home(stores: Settings, tmp_path: Path) -> Iterator[Settings]:
    made = beside(stores, tmp_path)
    copy = emptied(made, "a")
    yield made
    copy.graph.close()


def test_a_hub_shows_some_of_every_kind_of_relation(home: Settings) -> None:
    pumps = [pump(n, "secret" if n % 2 else "") for n in range(MANY)]
    relations = [at(n, "hub", "secret" if n % 2 else "", key=str(month)) for n in range(MANY) for month in range(3)]
    leads = Relation("Pump:0", "FEEDS", "Site:hub")
    passage = Passage("Document:0#0", "Document:0", "", "The hub was cleaned.", 0, ("Site:hub",))
    note = Part("notes", (Node("Document:0", "Document", "note"),), (), (passage,))
    published(wanted(part("p", [*pumps, site("hub")], [*relations, leads]), note), home, "a")
    around = Retrieval(home).search("hub", LABELS, methods=["names", "local"])["neighbours"]
    others = Counter({(row["predicate"], row["uid"]) for row in around})
    assert Counter(predicate for predicate, _ in others) == {"AT": 4, "FEEDS": 1}
    assert {(row["predicate"], row["of"]) for row in around} == {("AT", 3 * MANY // 2), ("FEEDS", 1)}
    assert not any(int(row["uid"].partition(":")[2]) % 2 for row in around), "hidden, so not told nor counted"
    assert all(row["properties"].keys() <= {"since"} for row in around)
