"""The last month when all others are there, against the first into an empty home: costs grow with what changed."""

from __future__ import annotations

import time

from benchmarks.harness import World
from benchmarks.report import Row

AIM = 1.3


def measure(world: World) -> list[Row]:
    world.quiet()
    first: dict[str, list[float]] = {}
    last: dict[str, list[float]] = {}
    for _ in range(world.repeats(3)):
        done = world.call(world.home(), "benchmarks.increment:first_and_last").result
        world.say(f"first month {sum(done['first'].values()):.1f} s, last month {sum(done['last'].values()):.1f} s")
        for kept, seconds in ((first, done["first"]), (last, done["last"])):
            for stage, value in {**seconds, "total": sum(seconds.values())}.items():
                kept.setdefault(stage, []).append(value)
    name = "the last month, {}"
    return [Row(name.format(s), "s", tuple(last[s]), "the first month", tuple(first[s]), AIM) for s in last]


def first_and_last() -> dict[str, dict[str, float]]:
    """Seconds by stage of the first month and, after all months between, of the last one; one process, warmed."""
    from benchmarks.stages import Stages

    stages = Stages()
    periods = stages.domain.periods
    stages.land()
    stages.warm()
    stages.tables()
    _ = stages.manifest
    monthly = [s for s in stages.sources if s.partitioned]

    def month(number: int) -> dict[str, float]:
        started = time.perf_counter()
        stages.ingestion([periods[number]], monthly)
        ingested = time.perf_counter()
        stages.warehouse([periods[number]])
        return {"ingestion": ingested - started, "warehouse": time.perf_counter() - ingested}

    first = month(0)
    stages.ingestion(periods[1:-1], monthly)
    stages.warehouse(periods[1:-1])
    return {"first": first, "last": month(-1)}
