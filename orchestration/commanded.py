"""Runs a job as a command does, in this process, and takes up after a command of that job that was killed.

A killed run keeps its places in pools until Dagster's daemon sees it; a command may run where there is no daemon, and
would wait for ever. So a command holds a lock while its run lasts: who gets the lock knows that runs of that command
which are still called started are dead, and gives back what they held.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from serving.errors import ClearwayError

TAG = "clearway/command"


@contextmanager
def alone(command: str) -> Iterator[None]:
    """Hold the lock of a command.

    Raises:
        ClearwayError: somebody else runs it.
    """
    folder = Path(os.environ["DAGSTER_HOME"])
    with open(folder / f".{command}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ClearwayError(
                f"the job {command} is being run by another command already",
                untouched="everything.",
                todo="wait for it, or stop it.",
            ) from error
        yield


def bury(instance: dg.DagsterInstance, command: str) -> list[str]:
    """Close the runs of a command that is not running, and free their places in pools; gives their ids."""
    unfinished = dg.RunsFilter(
        tags={TAG: command}, statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]
    )  # fmt: skip
    dead = instance.get_runs(unfinished)
    for run in dead:
        instance.report_run_failed(run, "the process of this run was killed; the next took up after it")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def execute(name: str, tags: Mapping[str, str] | None = None, command: str | None = None) -> Any:
    """Run a job of the definitions as one run of the instance in DAGSTER_HOME.

    Args:
        command: what runs alone: jobs that use the same pools are of one command; without it the job itself.

    Raises:
        ClearwayError: another command runs it.
    """
    from orchestration.definitions import defs

    job = defs.resolve_job_def(name)
    command = command or name
    with alone(command), dg.DagsterInstance.get() as instance:
        bury(instance, command)
        return job.execute_in_process(
            instance=instance,
            run_config={"loggers": {"progress": {}}},
            tags={**(tags or {}), TAG: command},
            raise_on_error=False,
        )
