"""The routes of the knowledge over a real published version, whose stores are away: answers, and each refusal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fastapi.testclient import TestClient

from assets.knowledge.build import build_index, switch
from serving.gateway import knowledge
from serving.gateway.app import create_app
from serving.gateway.keys import create_key
from serving.models.body import MAX_BODY
from serving.retrieval.elements import Node, Part, Passage
from serving.retrieval.service import Retrieval
from serving.settings import Settings
from tests.knowledge import part, pump, settings_at
from tests.published import declared, wanted, words

SEARCH, ANSWER, EMBED = "/v1/retrieval/search", "/v1/retrieval/answer", "/v1/embeddings"
CYPHER, SPARQL, QUERIES = "/v1/graph/cypher", "/v1/graph/sparql", "/v1/graph/queries"
# Ways that need no store.
WAYS = ["pagerank", "names", "lexical", "global"]
SAID = {
    "name": "said",
    "description": "Pumps built since a year.",
    "cypher": "MATCH (p:Pump) WHERE p.built >= $year RETURN p.uid AS uid",
    "parameters": {"year": {"type": "integer", "description": "a year"}},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = settings_at(tmp_path_factory.mktemp("gateway"))
    documents = (Node("Document:1", "Document", "note 1"), Node("Document:2", "Document", "note 2", {}, (), "secret"))
    passages = (
        Passage("Document:1#0", "Document:1", "", "Pump 1 leaks 12 litres a day.", 0, ("Pump:1",)),
        Passage("Document:2#0", "Document:2", "", "Pump 2 was sabotaged last night.", 0, ("Pump:2",), "secret"),
    )
    some = wanted(part("pumps", [pump(1), pump(2, "secret")]), Part("notes", documents, (), passages))
    switch(some, "a", build_index(some, declared([SAID]), words(), made), made)
    return made


@pytest.fixture(scope="module")
def keys(settings: Settings) -> dict[str, str]:
    return {
        "anybody": create_key("anybody", ["read"], settings),
        "trusted": create_key("trusted", ["read"], settings, labels=["secret"]),
        "all": create_key("all", ["operate"], settings, labels=["*"]),
        "feeder": create_key("feeder", ["feed"], settings),
    }


class Client:
    """Asks as the holder of a key."""

    def __init__(self, http: TestClient, keys: dict[str, str]) -> None:
        self.http, self.keys = http, keys

    def __call__(self, path: str, body: Any = None, key: str | None = "anybody", **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        if body is None and not more:
            return self.http.get(path, headers=headers)
        return self.http.post(path, headers=headers, **({"json": body} if body is not None else more))

    def refused(self, *arguments: Any, **more: Any) -> tuple[int, str]:
        response = self(*arguments, **more)
        return response.status_code, response.json()["error"]["reason"]


@pytest.fixture(scope="module")
def ask(settings: Settings, keys: dict[str, str]) -> Iterator[Client]:
    with TestClient(create_app(settings)) as http:
        yield Client(http, keys)


def question(text: str = "what about pump 1 and pump 2?", **more: Any) -> dict[str, Any]:
    return {"question": text, "methods": WAYS, **more}


def test_a_key_gets_what_its_labels_show(ask: Client) -> None:
    found = ask(SEARCH, question()).json()
    assert [p["uid"] for p in found["passages"]] == ["Document:1#0"]
    assert found["degraded"] == []
    for key in ("trusted", "all"):
        assert len(ask(SEARCH, question(), key=key).json()["passages"]) == 2
    again = ask(ANSWER, question())
    assert "sabotaged" not in again.text
    assert "12 litres a day. [1]" in again.json()["answer"]
    assert again.headers["x-request-id"]


@pytest.mark.parametrize("path", [SEARCH, ANSWER, CYPHER, SPARQL, EMBED, f"{QUERIES}/said"])
def test_who_has_no_key_or_no_scope_is_refused(ask: Client, path: str) -> None:
    body = {"question": "pump", "query": "RETURN 1 AS one", "input": "a text"}
    assert ask.refused(path, body, key=None) == (401, "no_key")
    assert ask.refused(path, body, key="wrong") == (401, "bad_key")
    assert ask.refused(path, body, key="feeder") == (403, "scope_missing")


def test_free_queries_are_for_keys_that_see_everything(ask: Client) -> None:
    for key in ("anybody", "trusted"):
        assert ask.refused(CYPHER, {"query": "MATCH (n) RETURN n"}, key=key) == (403, "label_missing")
        assert ask.refused(SPARQL, {"query": "SELECT * WHERE { ?s ?p ?o }"}, key=key) == (403, "label_missing")
    found = ask(SPARQL, {"query": "SELECT (count(*) AS ?n) WHERE { GRAPH ?g { ?s ?p ?o } }"}, key="all")
    assert found.status_code == 200, found.text


def test_what_is_not_known_is_refused(ask: Client) -> None:
    assert ask.refused(f"{QUERIES}/nothing", {}) == (404, "unknown_query")
    assert ask.refused(EMBED, {"input": "a text", "model": "other"}) == (404, "unknown_model")
    (listed,) = ask(QUERIES).json()["queries"]
    assert (listed["name"], list(listed["parameters"])) == ("said", ["year"])


def test_a_body_that_is_too_large_or_no_json_is_refused(ask: Client) -> None:
    for path in (SEARCH, ANSWER, CYPHER, SPARQL, EMBED, f"{QUERIES}/said"):
        assert ask.refused(path, content=b"x" * (MAX_BODY + 1)) == (413, "body_too_large")
        assert ask.refused(path, content=b"{") == (400, "invalid_json")
        assert ask.refused(path, content=b"\xff") == (400, "invalid_json")


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (SEARCH, {}, "invalid_request"),
        (SEARCH, [], "invalid_request"),
        (SEARCH, {"question": ""}, "invalid_request"),
        (SEARCH, {"question": "  \n"}, "invalid_question"),
        (SEARCH, {"question": "x" * 2001}, "invalid_request"),
        (SEARCH, {"question": 5}, "invalid_request"),
        (SEARCH, {"question": "x", "limit": 0}, "invalid_request"),
        (SEARCH, {"question": "x", "limit": 51}, "invalid_request"),
        (SEARCH, {"question": "x", "methods": []}, "invalid_request"),
        (SEARCH, {"question": "x", "methods": ["guess"]}, "invalid_request"),
        (SEARCH, {"question": "x", "labels": ["*"]}, "invalid_request"),
        (ANSWER, {"question": " "}, "invalid_question"),
        (f"{QUERIES}/said", {}, "invalid_request"),
        (f"{QUERIES}/said", {"parameters": {"year": "new"}}, "invalid_request"),
        (f"{QUERIES}/said", {"parameters": {"year": 1990, "access": ["secret"]}}, "invalid_request"),
        (CYPHER, {"query": ""}, "invalid_request"),
        (CYPHER, {"query": "MATCH (n) DETACH DELETE n"}, "query_refused"),
        (CYPHER, {"query": "MATCH (a)-[*]-(b) RETURN b"}, "query_refused"),
        (SPARQL, {"query": "INSERT DATA { <a:a> <a:b> <a:c> }"}, "query_refused"),
        (SPARQL, {"query": "SELECT nothing"}, "query_refused"),
        (EMBED, {"input": []}, "invalid_request"),
        (EMBED, {"input": ["x"] * 257}, "invalid_request"),
        (EMBED, {"input": "x", "kind": "other"}, "invalid_request"),
        (EMBED, {"input": "x", "encoding_format": "base64"}, "invalid_request"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask: Client, path: str, body: Any, reason: str) -> None:
    assert ask.refused(path, body, key="all") == (422, reason)


def test_embeddings_are_in_openais_form(ask: Client) -> None:
    found = ask(EMBED, {"input": ["pump 1 leaks", "pump 1 leaks", ""]}).json()
    assert (found["object"], [d["index"] for d in found["data"]]) == ("list", [0, 1, 2])
    made = np.array([d["embedding"] for d in found["data"]])
    assert made.shape == (3, 384)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-4)
    assert np.allclose(made[0], made[1], atol=1e-5)
    assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] > 4
    assert ask(EMBED, {"input": "one", "model": found["model"], "kind": "question"}).status_code == 200


def test_stores_that_are_away_are_told(ask: Client, settings: Settings) -> None:
    year = {"parameters": {"year": 1990}}
    assert ask.refused(f"{QUERIES}/said", year) == (503, "knowledge_unavailable")
    assert ask.refused(CYPHER, {"query": "RETURN 1 AS one"}, key="all") == (503, "knowledge_unavailable")
    response = ask(f"{QUERIES}/said", year)
    assert str(settings.graph_port) in response.json()["error"]["message"]
    assert response.headers["retry-after"]
    found = ask(SEARCH, question("pump 1", methods=["names", "local"])).json()
    assert found["passages"]
    assert [told.partition(":")[0] for told in found["degraded"]] == ["local"]


def test_no_knowledge_yet_is_told(settings: Settings, ask: Client) -> None:
    file = settings.knowledge / "current.json"
    aside = file.rename(file.with_name("aside"))
    try:
        assert ask.refused(SEARCH, question()) == (503, "no_knowledge")
        assert ask.refused(f"{QUERIES}/said", {}) == (503, "no_knowledge")
        assert ask.refused(QUERIES) == (503, "no_knowledge")
    finally:
        aside.rename(file)
    assert ask(SEARCH, question()).status_code == 200


def test_when_too_many_wait_the_next_is_refused(ask: Client) -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def slow(*_: Any, **__: Any) -> dict[str, Any]:
        entered.release()
        assert release.wait(30)
        return {}

    with (
        mock.patch.object(Retrieval, "search", slow),
        mock.patch.object(knowledge, "MOST_WAITING", 1),
        ThreadPoolExecutor(8) as pool,
    ):
        try:
            running = [pool.submit(ask, SEARCH, question()) for _ in range(knowledge.AT_ONCE)]
            for _ in running:
                assert entered.acquire(timeout=20)
            waiting = [pool.submit(ask.refused, SEARCH, question()) for _ in range(2)]
            deadline = time.monotonic() + 20
            while not any(one.done() for one in waiting):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            (over,) = (one for one in waiting if one.done())
            assert over.result() == (429, "too_many_questions")
        finally:
            release.set()
        assert [one.result().status_code for one in running] == [200] * knowledge.AT_ONCE


@pytest.fixture
def writer(settings: Settings) -> Iterator[dict[str, Any]]:
    """A language model behind the gateway's own chat route: ``says`` is its text or its refusal's status."""
    state: dict[str, Any] = {"says": "", "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state["asked"].append((self.path, self.headers["authorization"], asked))
            says = state["says"]
            content = says if isinstance(says, bytes) else json.dumps({"choices": [{"message": {"content": says}}]})
            self.send_response(says if isinstance(says, int) else 200)
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else content.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((settings.host, settings.gateway_port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def test_a_models_text_is_checked_and_asked_for_with_the_callers_key(ask: Client, writer: dict[str, Any]) -> None:
    writer["says"] = "Pump 1 leaks 12 litres a day [1]. It leaks 99 litres [1]. Pump 2 was sabotaged [2]."
    found = ask(ANSWER, question(model="writer")).json()
    assert (found["answer"], found["by"]) == ("Pump 1 leaks 12 litres a day [1].", "writer")
    assert len(found["dropped"]) == 2
    assert [c["uid"] for c in found["citations"]] == ["Document:1#0"]
    ((path, key, asked),) = writer["asked"]
    assert (path, key) == ("/v1/chat/completions", f"Bearer {ask.keys['anybody']}")
    assert asked["model"] == "writer"
    assert "sabotaged" not in json.dumps(asked), "the model is told what the caller may see"


@pytest.mark.parametrize("says", [500, 429, b"no json", b"{}", b'{"choices": []}'])
def test_a_model_that_gives_nothing_is_told_and_extracts_are_given(
    ask: Client, writer: dict[str, Any], says: Any
) -> None:
    writer["says"] = says
    found = ask(ANSWER, question(model="writer")).json()
    assert found["by"] == "extracts"
    assert "12 litres" in found["answer"]
    assert [told.partition(":")[0] for told in found["degraded"]] == ["writer"]


def test_a_model_that_makes_things_up_gives_extracts(ask: Client, writer: dict[str, Any]) -> None:
    for says in ("The password is hunter2 [1].", "Pump 2 was sabotaged.", "Nothing [0].", "[1]", "", None, 5, [1]):
        writer["says"] = says if not isinstance(says, int | list) else json.dumps(
            {"choices": [{"message": {"content": says}}]}).encode()  # fmt: skip
        found = ask(ANSWER, question(model="writer")).json()
        assert found["by"] == "extracts", says


def test_what_is_asked_is_counted(ask: Client) -> None:
    def counted(line: str) -> float:
        lines = ask.http.get("/metrics").text.splitlines()
        return next((float(one.rpartition(" ")[2]) for one in lines if one.startswith(line)), 0.0)

    right = 'clearway_gateway_requests_total{code="200",model="knowledge",route="retrieval.search"}'
    wrong = 'clearway_gateway_refusals_total{model="knowledge",reason="invalid_question",route="retrieval.search"}'
    before = counted(right), counted(wrong)
    ask(SEARCH, question())
    ask(SEARCH, question(" "))
    assert (counted(right), counted(wrong)) == (before[0] + 1, before[1] + 1)


def test_tools_over_mcp_show_what_the_key_shows(ask: Client) -> None:
    def call(method: str, key: str | None = "anybody", **parameters: Any) -> Any:
        headers = {"accept": "application/json, text/event-stream"}
        headers |= {"authorization": f"Bearer {ask.keys[key]}"} if key else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        return ask.http.post("/mcp", json=body, headers=headers).json()["result"]

    def tool(name: str, key: str | None = "anybody", /, **arguments: Any) -> Any:
        return call("tools/call", key, name=name, arguments=arguments)

    named = {one["name"] for one in call("tools/list")["tools"]}
    assert named >= {"ask_knowledge", "search_knowledge", "list_graph_queries", "run_graph_query"}
    for key, many in (("anybody", 1), ("trusted", 2)):
        found = tool("search_knowledge", key, question="what about pump 1 and pump 2?")["structuredContent"]
        assert len(found["passages"]) == many
        assert all(why.startswith(("dense: ", "local: ")) for why in found["degraded"]), "stores are away, and told"
    answer = tool("ask_knowledge", question="how much does pump 1 leak?")["structuredContent"]
    assert "12 litres a day. [1]" in answer["answer"]
    (query,) = tool("list_graph_queries")["structuredContent"]["queries"]
    assert query["name"] == "said"
    refused = tool("run_graph_query", name="said", parameters={"year": "x"})
    assert refused["isError"]
    assert "year" in refused["content"][0]["text"]
    assert "unknown_query" in tool("run_graph_query", name="nothing", parameters={})["content"][0]["text"]
    assert "no_key" in tool("search_knowledge", None, question="pump")["content"][0]["text"]
