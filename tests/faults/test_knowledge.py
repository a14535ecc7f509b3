"""The knowledge's servers killed in mid-load and in mid-query, and readers while a version is switched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from assets.knowledge import load, vectors
from assets.knowledge.agree import compare
from assets.knowledge.build import build_index, switch
from assets.knowledge.staged import Wanted
from serving.errors import ClearwayError
from serving.retrieval import servers
from serving.retrieval.bolt import GraphFault
from serving.retrieval.copy import Copy
from serving.retrieval.elements import Node
from serving.retrieval.embedding import embedder
from serving.retrieval.service import Retrieval
from serving.retrieval.vectors import VectorsFault
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings
from tests.knowledge import empty, part, pump, running
from tests.published import SAID, beside, bring, declared, notes, published, some, wanted, words

pytestmark = [pytest.mark.faults, pytest.mark.integration]
EVERYBODY: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Servers that may be killed."""
    with running(tmp_path_factory.mktemp("killed")) as settings:
        yield settings


@pytest.fixture
def home(own: Settings, tmp_path: Path) -> Settings:
    """A home that has published nothing, over those servers emptied."""
    servers.start(own)
    for slot in servers.SLOTS:
        with servers.graph(own, slot) as graph:
            empty(graph)
        collection = servers.vectors(own, slot)
        if collection.client.has_collection(collection.collection):
            collection.drop()
        collection.close()
    return beside(own, tmp_path)


def kill(settings: Settings, *programs: str) -> None:
    """SIGKILL, to a program and what it started; supervisord starts it again."""
    status = Supervisor(settings).status()
    for name in programs:
        pid = status[name].pid
        assert pid is not None
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            one.kill()
        psutil.wait_procs([process], timeout=10)


def differences(settings: Settings, slot: str, what: Wanted) -> list[Any]:
    collection = servers.vectors(settings, slot)
    with servers.graph(settings, slot) as graph:
        found = compare(what, Copy(graph), collection, embedder("english").name, deep=True)
    collection.close()
    return found


def told_by(work: Callable[[], Any]) -> ClearwayError | None:
    """What it fails with; None where a driver tried again until the server was back."""
    try:
        work()
    except ClearwayError as error:
        return error
    return None


# Servers that die


@pytest.mark.parametrize("when", ["graph:nodes", "in a write"])
def test_the_graph_killed_in_mid_load_is_finished_by_the_next(own: Settings, home: Settings, when: str) -> None:
    what = some("first", 2500)
    killed: list[float] = []

    def boundary(name: str) -> None:
        if name == when and not killed:
            killed.append(time.monotonic())
            kill(own, servers.GRAPH)

    def write(graph: Any, query: str, parameters: Any = None) -> None:
        if when == "in a write" and "MERGE (n:Pump" in query and not killed:
            killed.append(time.monotonic())
            threading.Timer(0.03, kill, (own, servers.GRAPH)).start()
        real(graph, query, parameters)

    real = servers.Graph.write
    with (
        servers.graph(home, "a") as client,
        mock.patch.object(load, "boundary", boundary),
        mock.patch.object(servers.Graph, "write", write),
    ):
        told = told_by(lambda: load.bring(Copy(client), what.parts))
    assert killed
    assert told is None or (isinstance(told, GraphFault) and "failed" in told.what and told.todo), told
    servers.start(own)
    bring(what, home, "a")
    assert differences(home, "a", what) == []


def test_the_vectors_killed_in_mid_load_are_finished_by_the_next(own: Settings, home: Settings) -> None:
    what = some("first")
    killed: list[str] = []

    def boundary(name: str) -> None:
        if name == "vectors:batch" and not killed:
            killed.append(name)
            kill(own, servers.VECTORS)

    with mock.patch.object(vectors, "boundary", boundary), mock.patch.object(vectors, "BATCH", 1):
        told = told_by(lambda: bring(what, home, "a"))
    assert killed
    assert told is None or (isinstance(told, VectorsFault) and "the vectors at" in told.what and told.todo), told
    servers.start(own)
    bring(what, home, "a")
    assert differences(home, "a", what) == []


def test_both_killed_in_mid_query_are_named_and_asked_again_when_they_are_back(own: Settings, home: Settings) -> None:
    published(some("first"), home, "a", declared([SAID]))
    retrieval = Retrieval(home)
    asked = "what happened to pump 1?"
    whole = retrieval.answer(asked, EVERYBODY)
    assert whole["degraded"] == []
    assert whole["neighbours"]
    kill(own, servers.GRAPH, servers.VECTORS)
    started = time.monotonic()
    less = retrieval.search(asked, EVERYBODY)
    assert time.monotonic() - started < 60
    assert [told.partition(" ")[0] for told in less["degraded"]] == ["dense:", "local:"], less["degraded"]
    assert less["passages"], "names and words still find"
    with pytest.raises(GraphFault, match="the graph at"):
        retrieval.query("said", {}, EVERYBODY)
    servers.start(own)
    again = retrieval.answer(asked, EVERYBODY)
    assert again == whole, "by the same object, which connects anew"
    assert len(retrieval.query("said", {}, EVERYBODY)["rows"]) == 40


# The switch


def one_version(answer: dict[str, Any]) -> str:
    """The version of which all of an answer is."""
    said = {row["said"] for row in answer["query"]["rows"]}
    said |= {p["text"].split()[-2] for p in answer["passages"]}
    said |= {word for citation in answer["citations"] for word in ("old", "new") if word in citation["text"]}
    assert len(said) == 1, said
    assert answer["query"]["version"] == answer["version"]
    (only,) = said
    return str(only)


def test_a_reader_gets_one_version_while_another_is_published(home: Settings) -> None:
    published(some("old"), home, "a", declared([SAID]))
    retrieval = Retrieval(home)
    asked, seen, problems = "of which version are the pumps?", [], []  # type: str, list[str], list[BaseException]
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                seen.append(one_version(retrieval.answer(asked, EVERYBODY)))
            except BaseException as error:
                problems.append(error)
                return

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        published(some("new"), home, "b", declared([SAID]))
        until(lambda: seen[-2:] == ["new", "new"] or bool(problems))
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert problems == []
    assert {"old", "new"} == set(seen)


def test_an_answer_that_began_before_the_switch_is_of_the_version_before(home: Settings) -> None:
    published(some("old"), home, "a", declared([SAID]))
    new = some("new")
    bring(new, home, "b")
    name = build_index(new, declared([SAID]), words(), home)
    retrieval = Retrieval(home)
    real = retrieval.version
    asked: list[str] = []

    def version() -> Any:
        found = real()
        if not asked:
            switch(new, "b", name, home)
        asked.append(found.published.version)
        return found

    with mock.patch.object(retrieval, "version", version):
        assert one_version(retrieval.answer("of which version are the pumps?", EVERYBODY)) == "old"
    assert one_version(retrieval.answer("of which version are the pumps?", EVERYBODY)) == "new"


def test_what_is_deleted_or_gets_a_label_leaves_every_store_at_the_switch(home: Settings) -> None:
    def version(*written: tuple[int, str]) -> Wanted:
        documents = [Node(f"Document:{n}", "Document", f"note {n}", {}, (), access) for n, access in written]
        passages = [p for n, access in written for p in notes("same", 3, access) if p.document == f"Document:{n}"]
        return wanted(part("pumps", [pump(n) for n in range(3)]), part("notes", documents, [], *passages))

    listed = {"name": "listed", "description": "d", "cypher": "MATCH (d:Document) RETURN d.uid AS uid ORDER BY uid"}
    retrieval = Retrieval(home)

    def seen(labels: frozenset[str]) -> list[list[str]]:
        opened = retrieval.version()
        vector = embedder("english").questions(["which pump was mended?"])[0]
        accesses = [a for a in opened.published.accesses if a == "" or a in labels]
        every = [
            [row["uid"] for row in retrieval.query("listed", {}, labels)["rows"]],
            [p["document"] for p in retrieval.search("Pump was mended", labels, methods=("lexical",))["passages"]],
            [uid.partition("#")[0] for uid in opened.vectors.dense(vector, accesses, 10)],
            [uid.partition("#")[0] for uid in opened.vectors.lexical("pump mended", accesses, 10)],
        ]
        return [sorted(one) for one in every]

    published(version((0, ""), (1, ""), (2, "")), home, "a", declared([listed]))
    assert seen(EVERYBODY) == [["Document:0", "Document:1", "Document:2"]] * 4
    after = version((1, "secret"), (2, ""))
    published(after, home, "b", declared([listed]))
    assert seen(EVERYBODY) == [["Document:2"]] * 4
    assert seen(frozenset({"secret"})) == [["Document:1", "Document:2"]] * 4
    assert differences(home, "b", after) == []
    bring(after, home, "a")  # the copy of the version before
    assert differences(home, "a", after) == []


def until(check: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)
