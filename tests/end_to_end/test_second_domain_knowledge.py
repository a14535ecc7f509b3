"""`make knowledge` on the second domain: from dropped notes to answers, changed labels, a repaired store."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from serving.gateway.keys import create_key
from serving.retrieval import servers
from serving.retrieval.published import current
from serving.settings import Settings
from tests.end_to_end.ran import Ran

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
SECRET = "The cellar of the north branch is flooded, and the insurer was told on Monday."
NOTE = "# Roof\n\nThe roof of the south branch leaks when it rains.\n"


def settings_of(library: Ran) -> Settings:
    ports = {f"{name.lower()}_port": port for name, port in library.place.ports.items()}
    return Settings(home=library.place.home, domain=library.place.domain, **ports)  # type: ignore[arg-type]


def drop(library: Ran, name: str, text: str | None) -> None:
    file = library.place.home / "landing" / "documents" / "notes" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


def build(library: Ran, *arguments: str, **environment: str) -> Any:
    return library.place.python("-m", "orchestration.knowledge", *arguments, timeout=600, **environment)


def ask(library: Ran, key: str, path: str, **body: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{library.place.ports['GATEWAY']}{path}"
    answer = httpx.post(url, headers={"authorization": f"Bearer {key}"}, json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


@pytest.fixture(scope="module")
def keys(library: Ran) -> dict[str, str]:
    """Bearer keys of somebody who sees everything, of staff, and of anybody."""
    settings = settings_of(library)
    local = (library.place.home / "local.key").read_text().strip()
    made = {"staff": create_key("staff", ["read"], settings, labels=["staff"]), "all": local}
    return {**made, "anybody": create_key("anybody", ["read"], settings)}


@pytest.fixture(scope="module")
def built(library: Ran) -> Ran:
    assert library.done.returncode == 0, library.text[-3000:]
    drop(library, "roof.md", NOTE)
    drop(library, "staff/cellar.txt", SECRET)
    drop(library, "broken.pdf", "%PDF-1.4 this is none")
    done = build(library)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "Finished in" in done.stdout
    assert "Not taken: 1." in done.stdout
    assert "notes/broken.pdf: " in done.stdout, "who drops a file learns that it is not taken"
    return library


def test_a_question_is_answered_by_the_declared_query_that_fits(built: Ran, keys: dict[str, str]) -> None:
    found = ask(
        built,
        keys["anybody"],
        "/v1/retrieval/answer",
        question="Which branches lend history, and how often is it late?",
    )
    assert found["by"] == "query genre_branches"
    assert found["query"]["parameters"] == {"genre": "Genre:history"}
    assert [row["branch"] for row in found["query"]["rows"]] == [
        f"{b} branch" for b in ("east", "north", "south", "west")
    ]
    assert [c["uid"] for c in found["citations"]] == [f"Branch:{b}" for b in ("east", "north", "south", "west")]
    assert found["degraded"] == []


def test_a_note_is_found_by_meaning_and_its_thing_by_name(built: Ran, keys: dict[str, str]) -> None:
    found = ask(
        built, keys["anybody"], "/v1/retrieval/search", question="water coming through the ceiling of the south branch"
    )
    assert found["passages"][0]["document"] == "Document:notes/roof.md"
    assert "Branch:south" in [e["uid"] for e in found["entities"]]
    assert {n["predicate"] for n in found["neighbours"]} >= {"LENDS"}


def test_the_projects_own_lineage_is_in_the_graph(built: Ran, keys: dict[str, str]) -> None:
    found = ask(built, keys["anybody"], "/v1/graph/queries/metric_lineage", parameters={"metric": "Metric:late_rate"})
    assert {"Table:fct_loans", "Metric:late_loans", "Source:source.loans"} <= {row["uid"] for row in found["rows"]}


def test_labels_hold_in_every_answer(built: Ran, keys: dict[str, str]) -> None:
    for path in ("/v1/retrieval/search", "/v1/retrieval/answer"):
        question = "is the cellar of the north branch flooded?"
        assert "flooded, and" not in json.dumps(ask(built, keys["anybody"], path, question=question))
        for who in ("staff", "all"):
            assert "flooded, and" in json.dumps(ask(built, keys[who], path, question=question))


def test_free_queries_are_for_who_sees_everything(built: Ran, keys: dict[str, str]) -> None:
    cypher = {"query": "MATCH (b:Branch) RETURN count(b) AS n"}
    assert ask(built, keys["all"], "/v1/graph/cypher", **cypher)["rows"] == [{"n": 4}]
    sparql = {"query": "SELECT (COUNT(?b) AS ?n) { ?b a <https://example.org/library#Branch> }"}
    assert '"4"' in ask(built, keys["all"], "/v1/graph/sparql", **sparql)["rows"][0][0]
    base = f"http://127.0.0.1:{built.place.ports['GATEWAY']}"
    for path, body, key, status, reason in (
        ("/v1/graph/cypher", cypher, "staff", 403, "label_missing"),
        ("/v1/graph/sparql", sparql, "anybody", 403, "label_missing"),
        ("/v1/graph/cypher", {"query": "MATCH (n) DETACH DELETE n"}, "all", 422, "query_refused"),
        ("/v1/graph/sparql", {"query": "CLEAR ALL"}, "all", 422, "query_refused"),
        ("/v1/graph/queries/nothing", {}, "all", 404, "unknown_query"),
        ("/v1/graph/queries/genre_branches", {}, "all", 422, "invalid_request"),
        ("/v1/retrieval/search", {"question": " "}, "all", 422, "invalid_question"),
        ("/v1/retrieval/search", {"question": "x", "methods": ["magic"]}, "all", 422, "invalid_request"),
        ("/v1/retrieval/search", {"question": "x" * 3000}, "all", 422, "invalid_request"),
    ):
        answer = httpx.post(base + path, headers={"authorization": f"Bearer {keys[key]}"}, json=body, timeout=60)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason), answer.text


def test_texts_are_embedded_as_openai_would(built: Ran, keys: dict[str, str]) -> None:
    found = ask(built, keys["anybody"], "/v1/embeddings", input=["a pump", "a roof"])
    assert [len(row["embedding"]) for row in found["data"]] == [384, 384]


def test_a_changed_label_and_a_removed_note_leave_every_store_at_once(built: Ran, keys: dict[str, str]) -> None:
    before = current(settings_of(built))
    drop(built, "staff/roof.md", NOTE)
    drop(built, "roof.md", None)
    done = build(built)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    now = current(settings_of(built))
    assert before is not None
    assert now is not None
    assert now.slot != before.slot
    question = "does the roof of the south branch leak when it rains?"
    assert "leaks when" not in json.dumps(ask(built, keys["anybody"], "/v1/retrieval/answer", question=question))
    assert "leaks when" in json.dumps(ask(built, keys["staff"], "/v1/retrieval/answer", question=question))


def test_what_others_did_to_a_store_is_found_and_repaired_by_one_job(built: Ran, keys: dict[str, str]) -> None:
    settings = settings_of(built)
    now = current(settings)
    assert now is not None
    with servers.graph(settings, now.slot) as graph:
        graph.write("MATCH (n:Branch {uid: 'Branch:east'}) DETACH DELETE n")
    seen = build(built, "check")
    assert seen.returncode == 1
    assert "Branch nodes that are missing" in seen.stdout
    with servers.graph(settings, "b" if now.slot == "a" else "a") as graph:
        graph.write("MATCH (n:Branch {uid: 'Branch:west'}) DETACH DELETE n")
    assert build(built, "repair").returncode == 0
    assert build(built, "check").returncode == 0
    found = ask(built, keys["all"], "/v1/graph/queries/genre_branches", parameters={"genre": "Genre:history"})
    assert len(found["rows"]) == 4


def test_a_shape_that_does_not_hold_blocks_publishing(built: Ran, tmp_path: Any) -> None:
    import shutil

    domain = tmp_path / "domain"
    shutil.copytree(built.place.domain, domain)
    shapes = domain / "ontology" / "shapes.ttl"
    shapes.write_text(
        shapes.read_text().replace("sh:path lib:city ; sh:minCount 1", "sh:path lib:city ; sh:minCount 2")
    )
    before = current(settings_of(built))
    done = build(built, CLEARWAY_DOMAIN=str(domain))
    assert done.returncode == 1
    assert "Branch:" in done.stdout
    assert "untouched" in done.stdout
    assert current(settings_of(built)) == before


@pytest.mark.timeout(400)
def test_a_killed_build_changes_nothing_and_the_next_finishes(built: Ran, keys: dict[str, str]) -> None:
    before = current(settings_of(built))
    drop(built, "shelf.md", "# Shelf\n\nA shelf of the west branch was mended with glue.\n")
    for where in ("graph:nodes", "publish:before"):
        done = build(built, CLEARWAY_CRASH_AT=where)
        assert done.returncode == -9, where
        assert current(settings_of(built)) == before
    assert build(built).returncode == 0
    found = ask(built, keys["anybody"], "/v1/retrieval/search", question="mended with glue")
    assert found["passages"][0]["document"] == "Document:notes/shelf.md"
