"""Metric questions: MetricFlow in process, on the published warehouse, against ``mf query`` as a process."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import World
from benchmarks.report import Row, percentile

if TYPE_CHECKING:
    from serving.semantics.query import MetricQuery

AIM_MS = 50.0
RIVAL = "mf query"
# Metrics, dimensions, grain, filter: counts, ratios, a derived and a cumulative metric, quantiles; few rows and many.
QUESTIONS: tuple[dict[str, Any], ...] = (
    {"metrics": ["flights"], "group_by": ["carrier"]},
    {"metrics": ["cancellation_rate"], "group_by": ["origin"], "grain": "month"},
    {"metrics": ["p90_arrival_delay"], "group_by": ["route"]},
    {"metrics": ["delay_made_up_in_air"], "group_by": ["carrier"]},
    {"metrics": ["flights"], "grain": "day"},
    {"metrics": ["on_time_rate"], "grain": "week"},
    {"metrics": ["average_arrival_delay"], "group_by": ["scheduled_hour"]},
    {"metrics": ["average_taxi_time"], "group_by": ["destination"]},
    {"metrics": ["average_air_time"], "group_by": ["aircraft"], "order_by": ["-average_air_time"]},
    {"metrics": ["flights_last_28_days"], "grain": "day"},
    {"metrics": ["flights", "cancelled_flights"], "group_by": ["carrier", "origin"], "grain": "month"},
    {"metrics": ["on_time_rate"], "where": [{"dimension": "carrier", "values": ["UA"]}], "grain": "month"},
    {"metrics": ["p90_arrival_delay"], "where": [{"dimension": "origin", "op": "in", "values": ["JFK", "LGA"]}]},
    {"metrics": ["average_departure_delay"], "group_by": ["carrier"], "grain": "quarter"},
)
BESIDE_MF = 4  # so many of them, from the first, are put to `mf query`: it takes seconds for each


def measure(world: World) -> list[Row]:
    home = world.built()
    asked = world.call(home, "benchmarks.metrics:in_process", rounds=world.repeats(10, 2)).result
    ours, theirs = [], []
    commands = world.call(home, "benchmarks.metrics:commands").result
    project = _project(world.root / "mf", Path(commands["project"]))
    copy = world.root / "mf" / "warehouse.duckdb"
    shutil.copyfile(commands["warehouse"], copy)
    mf = str(Path(sys.executable).with_name("mf"))
    environment = {"CLEARWAY_WAREHOUSE_BUILD": str(copy), "DBT_PROFILES_DIR": str(project)}
    parse = ("parse", "--project-dir", str(project))
    world.run(home, str(Path(mf).with_name("dbt")), *parse, cwd=project, environment=environment)
    for _ in range(world.repeats(3)):
        for number, arguments in enumerate(commands["questions"]):
            done = world.run(home, mf, "query", *arguments, cwd=project, environment=environment)
            theirs.append(1000 * done.seconds)
            ours.append(percentile(asked["by_question"][number], 0.5))
    medians = [percentile(times, 0.5) for times in asked["by_question"]]
    slowest = max(range(len(QUESTIONS)), key=lambda number: medians[number])
    return [
        Row("a new question on a warm engine, p50 of the mix", "ms", tuple(asked["new"]), aim=AIM_MS),
        Row("a question asked before, p50 of the mix", "ms", tuple(asked["again"]), aim=AIM_MS),
        Row(f"the slowest: {_words(QUESTIONS[slowest])}", "ms", tuple(asked["by_question"][slowest])),
        Row("the engine's first question", "ms", (asked["first"],)),
        Row(f"the same {BESIDE_MF} questions", "ms", tuple(ours), RIVAL, tuple(theirs)),
    ]


def in_process(rounds: int) -> dict[str, Any]:
    """Milliseconds: the first question; the median over all, new and asked before, by round; the times of each."""
    from benchmarks.stages import Stages
    from serving.semantics.engine import MetricEngine

    stages = Stages()
    engine = MetricEngine(stages.manifest.folder / "semantic_manifest.json", stages.settings.warehouse_file)

    def ask(question: MetricQuery) -> float:
        started = time.perf_counter()
        assert engine.query(question).rows
        return 1000 * (time.perf_counter() - started)

    first = ask(_another(QUESTIONS[0], -1))
    found: dict[str, list[float]] = {"new": [], "again": []}
    by_question: list[list[float]] = [[] for _ in QUESTIONS]
    for number in range(rounds + 1):
        questions = [_another(question, number) for question in QUESTIONS]
        for kind in found:
            taken = [ask(question) for question in questions]
            if number:  # the first round reads the file's blocks
                found[kind].append(percentile(taken, 0.5))
                if kind == "new":
                    for times, value in zip(by_question, taken, strict=True):
                        times.append(value)
    engine.close()
    return {"first": first, **found, "by_question": by_question}


def _words(question: dict[str, Any]) -> str:
    by = [*question.get("group_by", []), *([question["grain"]] if "grain" in question else [])]
    return f"{', '.join(question['metrics'])}{' by ' if by else ''}{', '.join(by)}"


def _another(question: dict[str, Any], number: int) -> MetricQuery:
    """The question with a limit that no answer reaches, so that it is one that was not compiled before."""
    from serving.semantics.query import MetricQuery

    return MetricQuery(**{"limit": 90_000 + number, **question})


def commands() -> dict[str, Any]:
    """The first questions as arguments of ``mf query``, and where the project and the warehouse lie."""
    from benchmarks.stages import Stages
    from serving.semantics.catalogue import load_catalogue
    from serving.semantics.query import MetricQuery, resolve

    stages = Stages()
    catalogue = load_catalogue(stages.manifest.folder / "semantic_manifest.json")
    questions = []
    for question in QUESTIONS[:BESIDE_MF]:
        groups = resolve(MetricQuery(**question), catalogue).group_by
        questions.append(["--metrics", ",".join(question["metrics"]), "--group-by", ",".join(groups)])
    return {
        "questions": questions,
        "project": str(stages.domain.dbt_project),
        "warehouse": str(stages.settings.warehouse_file),
    }


def _project(folder: Path, original: Path) -> Path:
    """A copy of the dbt project: ``mf`` writes its logs and what it parses below the project."""
    project = folder / "dbt_project"
    shutil.copytree(original, project, ignore=shutil.ignore_patterns("target", "logs"))
    return project
