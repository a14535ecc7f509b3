"""The laptop's servers of graph and vectors, under the supervisor; on production they are somebody's already."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from serving.errors import ClearwayError
from serving.retrieval import arcadedb
from serving.retrieval.bolt import READ_SECONDS, Graph
from serving.retrieval.published import current
from serving.retrieval.vectors import Vectors
from serving.runtime.program import Program
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings

GRAPH, VECTORS = "graph", "vectors"
SLOTS = ("a", "b")
PATIENCE_S = 90.0


def graph(settings: Settings, slot: str) -> Graph:
    """A client of one of the two copies of the graph.

    Raises:
        ClearwayError: production has no address or password for it.
    """
    if settings.profile == "production":
        missing = [
            f"CLEARWAY_{name.upper()}"
            for name in (f"graph_url_{slot}", "graph_password")
            if getattr(settings, name) is None
        ]
        if missing:
            raise ClearwayError(f"the graph's {', '.join(missing)} is not set", untouched="everything.", todo="set it.")
    return Graph(settings.graph(slot), settings.graph_user, arcadedb.password(settings))


def vectors(settings: Settings, slot: str) -> Vectors:
    """A client of one of the two collections of passages.

    Raises:
        ClearwayError: production has no address for them.
    """
    if settings.profile == "production" and settings.vectors_url is None:
        raise ClearwayError("CLEARWAY_VECTORS_URL is not set", untouched="everything.", todo="set it.")
    token = settings.vectors_token.get_secret_value() if settings.vectors_token else ""
    return Vectors(settings.vectors, f"passages_{slot}", token)


def start(settings: Settings, wait_seconds: float = PATIENCE_S) -> None:
    """Bring up both servers, or attach to what runs; nothing on production. Idempotent.

    Raises:
        ClearwayError: one does not answer within the time.
    """
    if settings.profile == "production":
        return
    supervisor = Supervisor(settings)
    supervisor.ensure_running()
    folder = arcadedb.folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    data = settings.knowledge / "vectors"
    data.mkdir(parents=True, exist_ok=True)
    supervisor.add_program(
        Program(
            GRAPH,
            arcadedb.command(settings),
            arcadedb.environment(settings),
            directory=folder,
            priority=50,
            stop_seconds=30,
        )
    )
    milvus = (
        str(Path(sys.executable).with_name("milvus-lite")), "server", "--data-dir", str(data), "--host", settings.host,
        "--port", str(settings.vectors_port),
    )  # fmt: skip
    supervisor.add_program(Program(VECTORS, milvus, {"OMP_NUM_THREADS": "1"}, priority=50))
    for slot in SLOTS:
        _wait(f"the graph's copy {slot}", partial(_graph_answers, settings, slot), wait_seconds, settings)
    now = current(settings)
    for slot in SLOTS:
        bound(settings, slot, READ_SECONDS if now is not None and now.slot == slot else 0)
    _wait("the vectors' server", lambda: vectors(settings, "a").problem(), wait_seconds, settings)


def bound(settings: Settings, slot: str, seconds: float) -> None:
    """Let the server end queries of a copy after ``seconds``; 0 while it is written. A Neo4j heeds the driver's."""
    if settings.profile != "production" and settings.graph_url_a is None:
        arcadedb.bound(settings, f"knowledge_{slot}", seconds)


def _graph_answers(settings: Settings, slot: str) -> str | None:
    with graph(settings, slot) as client:
        return client.problem()


def _wait(what: str, problem: Callable[[], str | None], seconds: float, settings: Settings) -> None:
    deadline = time.monotonic() + seconds
    while (found := problem()) is not None:
        if time.monotonic() > deadline:
            raise ClearwayError(
                f"{what} does not answer after {seconds:.0f} s: {found}",
                untouched="what is published.",
                todo=f"look at the logs in {settings.runtime / 'logs'}; are its ports taken?",
            )
        time.sleep(0.3)
