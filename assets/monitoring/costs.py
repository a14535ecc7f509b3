"""What runs cost: seconds by step, run and version, from Dagster's own record, at the domain's declared price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

RUNS = 200


@dataclass(frozen=True)
class Spent:
    """Seconds of one step, or of one whole run: what it was, of how many runs, and what it cost."""

    name: str
    runs: int
    seconds: float
    cost: float


@dataclass(frozen=True)
class RunSteps:
    """A finished run and the seconds of its steps."""

    run_id: str
    job: str
    steps: dict[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.steps.values())


def finished(instance: dg.DagsterInstance, limit: int = RUNS) -> list[RunSteps]:
    """The newest finished runs."""
    import dagster as dg

    states = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    found = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=states), limit=limit):
        steps = {
            s.step_key: s.end_time - s.start_time
            for s in instance.get_run_step_stats(run.run_id)
            if s.start_time is not None and s.end_time is not None
        }
        found.append(RunSteps(run.run_id, run.job_name, steps))
    return found


def by_step(runs: Sequence[RunSteps], hour: float) -> list[Spent]:
    """By step, which is an asset or the assets that one tool makes together; the dearest first."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for step, value in run.steps.items():
            seconds[step.replace("__", "/")].append(value)
    found = [Spent(name, len(values), sum(values), sum(values) / 3600 * hour) for name, values in seconds.items()]
    return sorted(found, key=lambda spent: -spent.seconds)


def by_job(runs: Sequence[RunSteps], hour: float) -> list[Spent]:
    """By job, the dearest first."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        seconds[run.job].append(run.seconds)
    found = [Spent(name, len(values), sum(values), sum(values) / 3600 * hour) for name, values in seconds.items()]
    return sorted(found, key=lambda spent: -spent.seconds)


def by_run(runs: Sequence[RunSteps], hour: float) -> list[Spent]:
    """Each run, the newest first."""
    return [Spent(f"{run.job} {run.run_id[:8]}", 1, run.seconds, run.seconds / 3600 * hour) for run in runs]


def of_versions(runs: Sequence[RunSteps], made: dict[str, str], hour: float) -> list[Spent]:
    """Of the run that made each version.

    Args:
        made: run id by version, such as ``<model> 2``.
    """
    known = {run.run_id: run.seconds for run in runs}
    return [Spent(name, 1, known[run], known[run] / 3600 * hour) for name, run in made.items() if run in known]
