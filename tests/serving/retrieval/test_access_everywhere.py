"""Whatever a caller asks, nothing of what they may not see is in the answer or moves it.

Each case is a world, a caller's labels and a question. The answer must have no word of hidden elements, and be the
same, to the last digit and in the same order, as over a world in which they never were. One object answers all callers
in turn, so that a cache that they share by mistake is found.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from assets.knowledge import staged
from assets.knowledge.communities import community_parts
from serving.retrieval.access import seen
from serving.retrieval.elements import Part
from serving.retrieval.embedding import embedder
from serving.retrieval.naming import Names
from serving.retrieval.opened import Version
from serving.retrieval.published import Published
from serving.retrieval.service import Retrieval
from serving.retrieval.structured import Entity, Phrases
from serving.settings import Settings
from tests.knowledge import emptied
from tests.published import beside, declared, published, wanted
from tests.serving.retrieval.labelled import HOLDERS, KINDS, World, canaries_of, indexes, question, shown, world

WORLDS, QUESTIONS = 160, 8
WAYS = (("pagerank", "names", "lexical", "global"), ("names", "global"), ("lexical", "global"), ("names", "lexical"))
LEAST_CASES = 10_000


class InTheIndex(Retrieval):
    """The service over indexes alone: neither the stores nor the embedder are asked."""

    def __init__(self, some: World) -> None:
        wanted = some.wanted()
        index, reports = indexes(wanted)
        published = Published("v", "a", "v", wanted.accesses, "english", 0.0)
        names = Names(index.elements.nodes, index.elements.relations, KINDS)
        stores: Any = None
        version = Version(published, index, reports, {}, Phrases([]), names, Path(), stores, stores)
        self.version = lambda: version
        self.told: list[Any] = []

    def _near(self, *_: Any) -> Any:
        return None

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A language model that repeats all it was given."""
        self.told = [dict(message) for message in messages]
        return f"{messages[-1]['content']} [1]"

    def everything(self, asked: str, labels: frozenset[str], turn: int, similar: Mapping[str, float]) -> Any:
        """All that a caller can get without the stores, and what a language model would; by other ways each turn."""
        self.told = []
        version = self.version()
        answer = self.answer(asked, labels, 5, WAYS[turn % 4], self.chat if turn % 3 == 0 else None, "writer")
        named = [asdict(entity) for entity in version.names.find(asked, [], labels)]
        found: Any = None
        paths: list[Any] = []
        if similar:
            found = version.index.search(asked, labels, dense=similar)
            paths = [version.index.path(uid, [n.uid for n in version.index.elements.nodes], labels) for uid in similar]
            found = [asdict(found), [path for path in paths if path]]
        return {**answer, "named": named, "prompt": self.told, "dense": found}


def test_no_answer_shows_or_depends_on_what_its_reader_may_not_see() -> None:
    cases = hiding = answered = reported = 0
    for number in range(WORLDS):
        rng = random.Random(number)
        some = world(rng)
        one = InTheIndex(some)
        hidden = {labels: some.hidden_from(labels) for labels in HOLDERS}
        alone = {labels: InTheIndex(some.seen_by(labels)) for labels in HOLDERS}
        for turn in range(QUESTIONS):
            asked = question(rng, some)
            similar = {p.uid: rng.random() for p in some.part.passages} if turn % 4 == 1 else {}
            for labels in rng.sample(HOLDERS, len(HOLDERS)):
                answer = one.everything(asked, labels, turn, similar)
                assert answer == alone[labels].everything(asked, labels, turn, similar), (number, labels, asked)
                leaked = canaries_of(shown(answer).replace(asked, "")) & hidden[labels]
                assert not leaked, (number, labels, asked, leaked)
                cases += 1
                hiding += bool(hidden[labels])
                answered += bool(answer["passages"])
                reported += bool(answer["reports"])
    assert cases >= LEAST_CASES
    assert hiding > 0.8 * cases, "callers mostly have something that they may not see"
    assert answered > 0.5 * cases, "most questions find something"
    assert reported > 0.05 * cases, "reports are found too"


def test_who_holds_everything_gets_the_whole_and_nobody_else_after_them() -> None:
    """The control: the words that are looked for are in answers, of those who may see them."""
    found = 0
    for number in range(20):
        some = world(random.Random(number))
        one = InTheIndex(some)
        for node in some.part.nodes:
            every, nobody = (
                canaries_of(shown(one.everything(node.name, labels, 1, {})).replace(node.name, ""))
                for labels in (frozenset("*"), frozenset())
            )
            hidden = some.hidden_from(frozenset())
            assert not nobody & hidden
            found += len(every & hidden)
    assert found > 100


# In the real stores: one copy holds whole worlds, the other what each caller sees of each; the ids tell them apart.

STORED, ASKED, BY_ALL = 20, 2, 40
QUERIES: list[dict[str, Any]] = [
    {
        "name": "how_many",
        "description": "Things by kind.",
        "cypher": "MATCH (n:Pump) OPTIONAL MATCH (n)-[r:FEEDS]-(m:Site) RETURN count(n) AS n, count(m) AS m, "
        "count(r) AS r, max(n.note) AS last",
    },
    {
        "name": "reached",
        "description": "What is within two steps of a pump.",
        "questions": ["what is near {pump}?", "what does {pump} feed?"],
        "parameters": {"pump": {"kind": "Pump", "description": "a pump"}},
        "cypher": "MATCH p = (a:Pump {uid: $pump})-[*1..2]-(b) RETURN DISTINCT b.uid AS uid, b.name AS name "
        "ORDER BY uid",
        "cites": ["uid"],
    },
    {
        "name": "pairs",
        "description": "Things beside things, by predicate.",
        "cypher": "MATCH (a:Pump)-[r]->(b) RETURN type(r) AS predicate, count(*) AS n, collect(r.since) AS since "
        "ORDER BY predicate",
    },
]


class Stored:
    """One world as it is, and for each caller what they see of it, under ids that are as long and sort alike."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.prefix = f"w{number:02d}x"
        self.world = world(random.Random(1000 + number), self.prefix)
        self.callers = [self.labels(holder) for holder in HOLDERS]

    def labels(self, holder: frozenset[str]) -> frozenset[str]:
        return frozenset([self.prefix, *(f"{self.prefix}-{label}" for label in holder)])

    def of(self, caller: int) -> str:
        return f"w{self.number:02d}{'abcdefgh'[caller]}"

    def whole(self) -> list[Part]:
        return renamed(self.world, self.prefix, self.prefix)

    def alone(self, caller: int) -> list[Part]:
        """A copy in which the hidden elements never were."""
        return renamed(self.world.seen_by(self.callers[caller]), self.prefix, self.of(caller))


def renamed(some: World, old: str, new: str) -> list[Part]:
    """A world with its communities under other ids."""
    parts = [some.part, *community_parts([some.part])]
    parts = [replace(part, name=f"{old}/{part.name}") for part in parts]
    text = orjson.dumps([asdict(part) for part in parts]).decode().replace(old, new)
    return [staged._part(row) for row in orjson.loads(text.replace("Community:", f"Community:{new}"))]


@pytest.fixture(scope="module")
def kept(stores: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Stored], list[Retrieval]]]:
    """The worlds, and the service over whole worlds and over those of each caller."""
    worlds = [Stored(number) for number in range(STORED)]
    whole = [part for one in worlds for part in one.whole()]
    alone = [part for one in worlds for caller in range(len(HOLDERS)) for part in one.alone(caller)]
    services = []
    embedded = tmp_path_factory.mktemp("embedded") / "embedded.db"
    for slot, parts in (("a", whole), ("b", alone)):
        emptied(stores, slot).graph.close()
        settings = beside(stores, tmp_path_factory.mktemp(f"published_{slot}"))
        published(wanted(*parts), settings, slot, declared(QUERIES), embedded)
        services.append(Retrieval(settings))
    yield worlds, services
    for service in services:
        service.version().vectors.drop()
        service.version().vectors.close()
        service.version().graph.close()


def dumped(answer: Any, prefix: str) -> str:
    return orjson.dumps(answer, option=orjson.OPT_SORT_KEYS).decode().replace(prefix, "w00x")


def ranked(scores: Mapping[str, float]) -> list[tuple[float, str]]:
    """Best first; sums of single precision differ in their last digit with the size of a collection."""
    return sorted(((round(score, 4), uid) for uid, score in scores.items()), reverse=True)


def from_stores(
    service: Retrieval, labels: frozenset[str], pump: str, vector: Any, text: str, first: bool
) -> dict[str, Any]:
    """What the stores give; the ``first`` time also what does not depend on the question."""
    version = service.version()
    access = seen(version.published.accesses, labels)
    vectors = version.vectors
    found: dict[str, Any] = {
        "reached": service.query("reached", {"pump": pump}, labels)["rows"],
        "around": service._around(version, [Entity(pump, pump.partition(":")[0], "")], access),
        "dense": ranked(vectors.dense(vector, access, 40, exact=first)),
    }
    if first:
        found["rows"] = [service.query(name, {}, labels)["rows"] for name in ("how_many", "pairs")]
    else:
        # BM25 of Milvus counts over all passages: what it finds is compared, not how much that weighs.
        found["lexical"] = sorted(vectors.lexical(text, access, 40))
    return found


@pytest.mark.integration
def test_no_store_shows_or_counts_what_its_reader_may_not_see(kept: tuple[list[Stored], list[Retrieval]]) -> None:
    worlds, (whole, alone) = kept
    model = embedder("english")
    cases = around = passages = 0
    for one in worlds:
        rng = random.Random(one.number)
        asked = [question(rng, one.world) for _ in range(ASKED)]
        pumps = [n.uid for n in rng.choices([n for n in one.world.part.nodes if n.kind == "Pump"], k=ASKED)]
        vectors = model.questions(asked)
        for turn in range(ASKED):
            for caller in rng.sample(range(len(HOLDERS)), len(HOLDERS)):
                labels, prefix = one.callers[caller], one.of(caller)
                theirs = frozenset(label.replace(one.prefix, prefix) for label in labels)
                about = (vectors[turn], asked[turn], turn == 0)
                found = from_stores(whole, labels, pumps[turn], *about)
                same = from_stores(alone, theirs, pumps[turn].replace(one.prefix, prefix), *about)
                assert dumped(found, one.prefix) == dumped(same, prefix), (one.number, sorted(labels), asked[turn])
                assert not canaries_of(shown(found)) & (one.world.hidden_from(labels) - canaries_of(pumps[turn]))
                cases += 1
                around += bool(found["around"] and found["reached"])
                passages += bool(found["dense"])
    assert cases >= 300
    assert around > 0.1 * cases
    assert passages > 0.5 * cases


@pytest.mark.integration
def test_the_service_over_real_stores_answers_as_if_it_were_not_there(
    kept: tuple[list[Stored], list[Retrieval]],
) -> None:
    worlds, (whole, alone) = kept
    by: set[str] = set()
    for number in range(BY_ALL):
        rng = random.Random(number)
        one, caller = rng.choice(worlds), rng.randrange(len(HOLDERS))
        pump = rng.choice([n for n in one.world.part.nodes if n.kind == "Pump"] or one.world.part.nodes)
        asked = question(rng, one.world) if number % 2 else f"what is near {pump.name}?"
        labels, prefix = one.callers[caller], one.of(caller)
        found = whole.answer(asked, labels)
        same = alone.answer(asked, frozenset(label.replace(one.prefix, prefix) for label in labels))
        for answer in (found, same):
            answer.pop("version")
            answer["query"] and answer["query"].pop("version")
        assert found["degraded"] == []
        assert dumped(found, one.prefix) == dumped(same, prefix), (one.number, sorted(labels), asked)
        assert not canaries_of(shown(found).replace(asked, "")) & one.world.hidden_from(labels)
        by.add(found["by"])
    assert by == {"extracts", "query reached"}
