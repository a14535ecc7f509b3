"""What ``/docs`` says of the routes of the knowledge."""

from __future__ import annotations

from typing import Any

from serving.gateway.docs import NO_KEY, NO_SCOPE, SECURITY, _refusal

NONE = _refusal("no_knowledge", "no knowledge is published yet; make knowledge")
BUSY = _refusal("too_many_questions", "2 questions are answered and 16 wait; try again shortly")
LABEL = _refusal("label_missing", "free queries are for keys that see everything (label *); use a declared query")


def _route(
    summary: str, description: str, example: dict[str, Any] | None, more: dict[int, Any] | None = None
) -> dict[str, Any]:
    route: dict[str, Any] = {
        "summary": summary,
        "description": description,
        "tags": ["knowledge"],
        "responses": {401: NO_KEY, 403: NO_SCOPE, 429: BUSY, 503: NONE, **(more or {})},
        "openapi_extra": dict(SECURITY),
    }
    if example is not None:
        body = {"application/json": {"schema": {"type": "object"}, "example": example}}
        route["openapi_extra"] = {**SECURITY, "requestBody": {"required": True, "content": body}}
    return route


SEEN = "A key sees elements without labels, and those whose labels it all holds; nothing else is found or counted."
SEARCH = _route(
    "Search passages",
    "Passages by names, words, meaning and personalised PageRank, fused; each says which ranking had it where, "
    "and the path from the things of the question to it. Beside them the relations of those things and the reports of "
    f"communities. {SEEN}",
    {"question": "engine failures at take-off", "limit": 8},
)
ANSWER = _route(
    "Answer with citations",
    "The rows of a declared graph query when the question asks for one, else sentences of what search finds; `model` "
    "lets a served language model compose instead, and what its citations do not bear out is left out.",
    {"question": "engine failures at take-off"},
)
QUERIES = _route("Declared graph queries", "Their parameters, and how people ask for them.", None)
QUERY = _route(
    "Run a declared graph query",
    f"Rows as JSON, at most 1,000. {SEEN}",
    {"parameters": {}},
    {404: _refusal("unknown_query", "no query of that name")},
)
CYPHER = _route(
    "Run Cypher",
    "One reading query with bounded paths; ended after 10 s. For keys that see everything.",
    {"query": "MATCH (n) RETURN n.uid LIMIT 5"},
    {403: LABEL, 422: _refusal("query_refused", "SET at character 11 is not for reading queries")},
)
SPARQL = _route(
    "Run SPARQL",
    "One SELECT, ASK, CONSTRUCT or DESCRIBE over the graph as RDF; ended after 10 s. For keys that see everything.",
    {"query": "SELECT * WHERE { ?s ?p ?o } LIMIT 5"},
    {403: LABEL, 422: _refusal("query_refused", "the query was ended after 10 s")},
)
EMBEDDINGS = _route(
    "Embed texts",
    "OpenAI's form. `kind` is `question` or `passage`, which the multilingual model tells apart.",
    {"input": ["A text"]},
    {404: _refusal("unknown_model", "no such embedding model")},
)
