"""Asks the published knowledge: which questions are answered right, how long search takes, what the vectors miss."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.retrieval.access import EVERYTHING
from serving.retrieval.service import Retrieval
from serving.settings import get_settings

LABELS = frozenset({EVERYTHING})
USERS = (1, 8)
SEED, SENTENCES, NEAREST = 6, 200, 10
# Similarities of one text's vector differ by so much between batches.
EQUAL = 1e-5


def opened() -> Retrieval:
    from serving.retrieval import servers

    settings = get_settings()
    servers.start(settings)
    retrieval = Retrieval(settings)
    retrieval.search("what is there?", LABELS)  # the index is read and the models are loaded
    return retrieval


def _questions(retrieval: Retrieval) -> list[Any]:
    from benchmarks.knowledge_stages import SOURCE
    from benchmarks.knowledge_truth import questions

    settings = get_settings()
    declared = {name: query.questions for name, query in retrieval.version().queries.items()}
    (events,) = sorted((settings.landing / "documents" / SOURCE).glob("*.csv"))
    return questions(settings.warehouse_file, events, declared)


def answered() -> list[dict[str, Any]]:
    """Each question with its kind, what was taken for it, and whether the answer is SQL's."""
    from benchmarks.knowledge_truth import agrees, said

    retrieval = opened()
    made = []
    for asked in _questions(retrieval):
        answer = retrieval.answer(asked.text, LABELS)
        query = answer["query"]
        name = query["query"] if query else None
        # Nothing is the right answer of some questions, and of wrong queries too.
        right = asked.right is not None and agrees(asked.right, said(answer)) and (asked.right or name == asked.kind)
        made.append({
            "question": asked.text, "kind": asked.kind, "declared": asked.declared, "query": name, "right": bool(right),
            "parameters": query["parameters"] if query else None, "degraded": answer["degraded"],
        })  # fmt: skip
    return made


def latencies(most: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of search, answer and declared queries, by users at once.

    Args:
        most: questions, drawn from all of them.
    """
    retrieval = opened()
    texts = [asked.text for asked in _questions(retrieval)]
    texts = random.Random(SEED).sample(texts, most)
    queries = [
        (answer["query"]["query"], answer["query"]["parameters"])
        for answer in (retrieval.answer(text, LABELS) for text in texts)
        if answer["query"] is not None
    ]
    work: Mapping[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
        "search": (lambda text: retrieval.search(text, LABELS), texts),
        "answer": (lambda text: retrieval.answer(text, LABELS), texts),
        "declared query": (
            lambda query: retrieval.query(query[0], query[1], LABELS),
            queries * (1 + most // len(queries)),
        ),
    }
    return {name: {str(users): _taken(one, each, users) for users in USERS} for name, (one, each) in work.items()}


def _taken(one: Callable[[Any], Any], each: Sequence[Any], users: int) -> list[float]:
    def timed(what: Any) -> float:
        started = time.perf_counter()
        one(what)
        return 1000 * (time.perf_counter() - started)

    with ThreadPoolExecutor(users) as pool:
        return list(pool.map(timed, each))


def recall() -> dict[str, Any]:
    """Share of the exact nearest passages that the vectors' index finds, by question, which are sentences of passages.

    A passage counts as found when its similarity is not less than that of the last exact one: texts occur twice.
    """
    import numpy as np

    from assets.knowledge.staged import of_version
    from assets.knowledge.vectors import Brought, Embedded, text_of
    from serving.retrieval.compose import sentences
    from serving.retrieval.embedding import embedder

    retrieval = opened()
    version = retrieval.version()
    settings, model = get_settings(), embedder(version.published.embeddings)
    passages = list(of_version(version.published.version, settings).embedded)
    cache = Embedded(settings.knowledge / "embedded.db", model)
    vectors = cache.vectors([text_of(passage) for passage in passages], Brought())
    place = {passage.uid: i for i, passage in enumerate(passages)}
    said = sorted({part for p in passages for part in sentences(p.text) if len(part.split()) >= 6})
    asked = model.questions(random.Random(SEED).sample(said, SENTENCES))
    accesses = version.published.accesses

    def share(question: Any, *, exact: bool) -> float:
        similar = vectors @ question
        least = float(np.sort(similar)[-NEAREST]) - EQUAL
        found = version.vectors.dense(question, accesses, NEAREST, exact=exact)
        return sum(float(similar[place[uid]]) >= least for uid in found) / NEAREST

    return {"shares": [share(q, exact=False) for q in asked], "exhaustive": [share(q, exact=True) for q in asked],
            "passages": len(passages)}  # fmt: skip
