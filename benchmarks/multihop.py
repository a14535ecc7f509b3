"""Questions whose answer takes several passages: the ranking index beside published systems, BM25 and dense search.

The 51 questions of ../shared/data/2wiki (its SOURCE.md says whose they are), each against all 6,119 passages. The
published systems searched about 800 chunks for the same questions, which is easier. No language model is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.harness import LeftOut, World
from benchmarks.report import Row
from serving.settings import PROJECT

if TYPE_CHECKING:
    from serving.retrieval.elements import Passage
    from serving.retrieval.ranking.index import Index

FOLDER = PROJECT.parent / "shared" / "data" / "2wiki"
MISSED_AIM, INDEX_AIM_S, QUESTION_AIM_MS = 5.0, 60.0, 50.0
WITHIN = 8
METHODS: Mapping[str, tuple[str, ...]] = {
    "BM25 alone": ("lexical",),
    "PageRank alone": ("pagerank",),
    "names alone": ("names",),
}


@dataclass(frozen=True)
class Question:
    """A question, the titles of the passages that answer it, and the titles that others published, best first."""

    text: str
    gold: frozenset[str]
    published: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Quality:
    """Means over questions: all gold titles in the first 8; the share of them in the first 2, in the first 5."""

    perfect: float
    recall2: float
    recall5: float


def measure(world: World) -> list[Row]:
    if not (FOLDER / "corpus.json").exists():
        raise LeftOut(
            f"{FOLDER} has no corpus.json", untouched="everything.", todo="put the corpus and questions there."
        )
    home = world.home()
    asked = questions(FOLDER)
    saved = {"folder": str(FOLDER), "saved": str(home.path / "multihop")}
    built = [world.call(home, "benchmarks.multihop:build", **saved) for _ in range(world.repeats(3))]
    # A process of its own: one that has built would load into the memory that building left.
    made = [world.call(home, "benchmarks.multihop:searched", **saved) for _ in range(world.repeats(3))]
    found = made[0].result
    qualities = {name: Quality(**each) for name, each in found["quality"].items()}
    ours = qualities.pop("ours")
    rivals = qualities | {f"{name}, published": published(asked, name) for name in asked[0].published}
    if not world.quick:
        world.say("embedding all passages, for dense search")
        dense = world.call(home, "benchmarks.multihop:with_dense", folder=str(FOLDER)).result
        rivals |= {name: Quality(**each) for name, each in dense["quality"].items()}
        world.details["embedding_seconds"] = dense["seconds"]
    rows = [Row(f"questions without all their passages in the first {WITHIN}, of {len(asked)}", "%",
                (_missed(ours.perfect),), aim=MISSED_AIM)]  # fmt: skip
    rows += _held_out(world)
    for what, pick in _PICKS.items():
        rows += [Row(what, "%", (_missed(pick(ours)),), name, (_missed(pick(each)),)) for name, each in rivals.items()]
    rows += [
        Row("index of all passages", "s", tuple(each.result["seconds"] for each in built), aim=INDEX_AIM_S),
        Row("a question", "ms", tuple(ms for each in made for ms in each.result["ms"]), aim=QUESTION_AIM_MS),
        Row("the first question after loading", "ms", tuple(each.result["first_ms"] for each in made)),
        Row("loading from files", "s", tuple(each.result["load_s"] for each in made)),
        Row("memory that the loaded index takes", "MiB", tuple(each.result["memory_mib"] for each in made)),
        Row("peak memory of the process that loads it and asks", "MiB", tuple(each.peak_mib for each in made)),
        Row("its files", "MiB", (built[0].result["files_mib"],)),
        Row("peak memory of the process that builds", "MiB", tuple(each.peak_mib for each in built)),
    ]
    world.details["failed"] = found["failed"]
    return rows


_PICKS: Mapping[str, Callable[[Quality], float]] = {
    f"without all in the first {WITHIN}": lambda quality: quality.perfect,
    "gold passages not in the first 2": lambda quality: quality.recall2,
    "gold passages not in the first 5": lambda quality: quality.recall5,
}


def _held_out(world: World) -> list[Row]:
    """The same by cross-validation, a value for each repetition of the folds."""
    world.say("cross-validation of the parameters")
    quick = {"repeats": 2, "points": 2} if world.quick else {}
    tuned = world.call(world.home(), "benchmarks.multihop_tuning:tuned", folder=str(FOLDER), **quick).result
    world.details["tuning"] = tuned
    held = tuple(_missed(share) for share in tuned["held_out"])
    return [Row("the same with parameters chosen on other questions, a repetition of the folds", "%", held)]


def _missed(share: float) -> float:
    return round(100 * (1 - share), 2)


def questions(folder: Path) -> list[Question]:
    return [
        Question(q["question"], frozenset(q["gold_titles"]),
                 {name: tuple(titles) for name, titles in q["published_rankings"].items()})
        for q in orjson.loads((folder / "dev_questions.json").read_bytes())
    ]  # fmt: skip


def passages(folder: Path) -> list[Passage]:
    from serving.retrieval.elements import Passage

    found = orjson.loads((folder / "corpus.json").read_bytes())
    return [Passage(f"chunk:{i}", f"document:{i}", p["title"], p["text"]) for i, p in enumerate(found)]


def quality(asked: Sequence[Question], titles: Sequence[Sequence[str]]) -> Quality:
    """Of rankings, one list of titles a question."""

    def recall(question: Question, ranking: Sequence[str], within: int) -> float:
        return len(question.gold & set(ranking[:within])) / len(question.gold)

    pairs = list(zip(asked, titles, strict=True))
    means = [sum(recall(q, r, within) for q, r in pairs) / len(pairs) for within in (2, 5)]
    return Quality(sum(recall(q, r, WITHIN) == 1 for q, r in pairs) / len(pairs), *means)


def published(asked: Sequence[Question], system: str) -> Quality:
    return quality(asked, [question.published[system] for question in asked])


def ranked(index: Index, asked: Sequence[Question], methods: Collection[str],
           dense: Sequence[Mapping[str, float]] | None = None) -> list[list[str]]:  # fmt: skip
    """Titles by question, best first."""
    given: Sequence[Mapping[str, float] | None] = dense or [None] * len(asked)
    return [
        [hit.passage.title for hit in index.search(q.text, frozenset(), WITHIN, each, methods).passages]
        for q, each in zip(asked, given, strict=True)
    ]


def build(folder: str, saved: str) -> dict[str, float]:
    """Build and save: seconds of the building, MiB of the files."""
    import shutil

    from serving.retrieval.ranking.index import Index

    texts = passages(Path(folder))
    started = time.perf_counter()
    built = Index.build(texts)
    seconds = time.perf_counter() - started
    shutil.rmtree(saved, ignore_errors=True)
    built.save(Path(saved))
    return {"seconds": seconds, "files_mib": sum(file.stat().st_size for file in Path(saved).iterdir()) / 2**20}


def searched(folder: str, saved: str) -> dict[str, Any]:
    """Load and ask: milliseconds by question, memory, quality by method, what failed."""
    import gc

    import psutil

    from serving.retrieval.ranking.index import METHODS as ALL
    from serving.retrieval.ranking.index import Index

    asked = questions(Path(folder))
    gc.collect()
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    index = Index.load(Path(saved))
    load_s = time.perf_counter() - started
    ours, times = [], []
    for question in asked:
        started = time.perf_counter()
        ours.append([hit.passage.title for hit in index.search(question.text, frozenset(), WITHIN).passages])
        times.append(1000 * (time.perf_counter() - started))
    memory = (psutil.Process().memory_info().rss - before) / 2**20
    found = {"ours": quality(asked, ours)}
    found |= {name: quality(asked, ranked(index, asked, methods)) for name, methods in METHODS.items()}
    assert all(set(methods) <= set(ALL) for methods in METHODS.values())
    return {
        "load_s": load_s, "first_ms": times[0], "ms": times[1:], "memory_mib": memory,
        "quality": {name: vars(each) for name, each in found.items()},
        "failed": [{"question": q.text, "missed": sorted(q.gold - set(titles)), "found": titles}
                   for q, titles in zip(asked, ours, strict=True) if not q.gold <= set(titles)],
    }  # fmt: skip


def with_dense(folder: str) -> dict[str, Any]:
    """Quality of dense search alone, and of the index that is given its similarities; seconds of the embedding."""
    from serving.retrieval.embedding import embedder
    from serving.retrieval.ranking.index import METHODS as ALL
    from serving.retrieval.ranking.index import Index

    asked, texts = questions(Path(folder)), passages(Path(folder))
    model = embedder("english")
    started = time.perf_counter()
    vectors = model.passages([f"{passage.title}\n{passage.text}" for passage in texts])
    seconds = time.perf_counter() - started
    similar = model.questions([question.text for question in asked]) @ vectors.T
    given = [{p.uid: float(s) for p, s in zip(texts, row, strict=True)} for row in similar]
    index = Index.build(texts)
    found = {
        "dense alone": quality(asked, ranked(index, asked, ("dense",), given)),
        "the index with dense": quality(asked, ranked(index, asked, ALL, given)),
    }
    return {"seconds": seconds, "quality": {name: vars(each) for name, each in found.items()}}
