"""The job ``lifecycle`` in Dagster against the same stages called as plain functions in one process.

Each side is one process from its start to its end, imports and the parsing of the dbt project included, over all months
into an empty home, with the sample landed and serving up beforehand.
"""

from __future__ import annotations

import sys
import time

from benchmarks.harness import World
from benchmarks.report import Row

AIM = 1.25
PLAIN = "plain function calls"
STAGE_OF = {
    "raw": "ingestion",
    "events": "ingestion",
    "feeds": "ingestion",
    "periods_that_are_due": "ingestion",  # the checks of freshness
    "warehouse": "warehouse",
    "metrics": "metrics",
    "features": "features",
    "training_sets": "training",
    "models": "training",
    "releases": "delivery",
    "rollouts": "delivery",  # shows the releases
}


def measure(world: World) -> list[Row]:
    runs: dict[str, list[float]] = {"with_dagster": [], "plainly": []}
    cpu: dict[str, list[float]] = {"with_dagster": [], "plainly": []}
    stages: dict[str, dict[str, list[float]]] = {"with_dagster": {}, "plainly": {}}
    for number in range(world.repeats(3)):
        # Whoever goes second finds files cached, so they take turns. Dagster's last home is kept for other benches.
        for side in ("plainly", "with_dagster") if number % 2 == 0 else ("with_dagster", "plainly"):
            home = world.home()
            world.call(home, "benchmarks.stages:begin")
            done = world.call(home, f"benchmarks.lifecycle:{side}")
            world.quiet(home)
            world.say(f"{side.replace('_', ' ')}: {done.seconds:.1f} s, {done.cpu_seconds:.0f} s of CPU")
            runs[side].append(done.seconds)
            cpu[side].append(done.cpu_seconds)
            within = {**done.result, "imports, definitions, events": done.seconds - sum(done.result.values())}
            for stage, seconds in within.items():
                stages[side].setdefault(stage, []).append(seconds)
            if side == "with_dagster":
                world.keep_released(home)
    rows = [
        Row("lifecycle", "s", tuple(runs["with_dagster"]), PLAIN, tuple(runs["plainly"]), AIM),
        Row("lifecycle, CPU time", "s", tuple(cpu["with_dagster"]), PLAIN, tuple(cpu["plainly"])),
    ]
    for stage, seconds in stages["with_dagster"].items():
        rows.append(Row(f"of it {stage}", "s", tuple(seconds), PLAIN, tuple(stages["plainly"][stage])))
    return rows


def with_dagster() -> dict[str, float]:
    """Run the job; seconds by stage, as its steps took them."""
    from orchestration.home import prepare
    from orchestration.run import run_lifecycle
    from serving.settings import get_settings

    prepare(get_settings())
    result = run_lifecycle(get_settings())
    if not result.success:
        sys.exit("the life cycle failed")
    seconds = dict.fromkeys(STAGE_OF.values(), 0.0)
    for event in result.filter_events(lambda e: e.is_step_success):
        seconds[STAGE_OF[event.step_key.split("__")[0]]] += event.step_success_data.duration_ms / 1000
    return seconds


def plainly() -> dict[str, float]:
    """Call the stages; seconds by stage."""
    from benchmarks.stages import Stages

    stages = Stages()
    stages.land()
    periods = stages.domain.periods
    _ = stages.manifest  # parsed while Dagster loads its definitions, so not a stage's time here either
    seconds = {}
    for name in dict.fromkeys(STAGE_OF.values()):
        started = time.perf_counter()
        stage = getattr(stages, name)
        stage() if name in ("training", "delivery") else stage(periods)
        seconds[name] = time.perf_counter() - started
    return seconds
