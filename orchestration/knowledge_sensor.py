"""Has the knowledge made again when documents or marts are newer than what it was last made of."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets.domains import Domain
from assets.knowledge.documents.collect import passing
from assets.knowledge.documents.spec import FOLDER
from assets.knowledge.keys import ELEMENTS
from assets.knowledge.spec import GraphFile, read_graph
from assets.warehouse.assets import model_key
from orchestration.jobs import AssetJob
from orchestration.pace import interval
from serving.settings import get_settings

SETTLED_S = 10  # since the last change below the folder: a copy of many files is taken as one
WORKING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
           dg.DagsterRunStatus.STARTED]  # fmt: skip


def knowledge_sensor(domain: Domain, job: AssetJob) -> dg.SensorDefinition:
    """One run of the job ``knowledge`` for each change of documents or of marts that it reads.

    Only where there is knowledge already: the first is made by ``make knowledge``. Marts are waited for until no run
    works, since a run of months changes them many times. A change that fails is not tried again; the next one is.
    """
    graph = read_graph(domain.folder)
    assert graph is not None, "a domain without a graph has no such job"

    @dg.sensor(
        name="knowledge",
        job=job,
        minimum_interval_seconds=interval(30),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Documents were dropped, changed or removed, or marts were built: the knowledge is made again.",
    )
    def changed(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        began = last_began(context.instance)
        if began is None:
            yield dg.SkipReason("there is no knowledge yet: make knowledge")
            return
        if context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, statuses=WORKING)):
            yield dg.SkipReason("it is being made")
            return
        dropped = newest_change(get_settings().landing / FOLDER)
        built = newest_mart(context.instance, graph)
        if dropped > began:
            if time.time() - dropped < SETTLED_S:
                yield dg.SkipReason("documents are being dropped")
                return
            yield dg.RunRequest(run_key=f"documents:{dropped:.6f}")
        elif built > began:
            if context.instance.get_runs_count(dg.RunsFilter(statuses=WORKING)):
                yield dg.SkipReason("marts are newer; it waits until no run works")
                return
            yield dg.RunRequest(run_key=f"marts:{built:.6f}")
        else:
            yield dg.SkipReason("documents and marts are what it was made of")

    return changed


def last_began(instance: dg.DagsterInstance) -> float | None:
    """When the run began that last wrote what the knowledge is to hold; None when none did. Seconds since 1970."""
    event = instance.get_latest_materialization_event(ELEMENTS)
    if event is None:
        return None
    record = instance.get_run_record_by_id(event.run_id)
    return record.start_time if record is not None and record.start_time else event.timestamp


def newest_change(folder: Path) -> float:
    """When something below a folder was last written, moved there or taken away; 0 when there is nothing.

    By the time of change of the file's entry, which a copy that keeps a file's times sets as well.
    """
    newest = 0.0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not passing(name)]
        for path in (parent, *(os.path.join(parent, name) for name in names if not passing(name))):
            try:
                newest = max(newest, os.stat(path).st_ctime)
            except FileNotFoundError:
                continue
    return newest


def newest_mart(instance: dg.DagsterInstance, graph: GraphFile) -> float:
    """When a table that the graph reads was last built; 0 when none was."""
    events = (instance.get_latest_materialization_event(model_key(name)) for name in graph.reads)
    return max((event.timestamp for event in events if event is not None), default=0.0)
