"""Finds and ends the processes that belong to one runtime folder, by a mark in their environment.

Children inherit the mark, so what supervisord lost sight of (it was killed, or a program forked) is found as well.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

MARK = "CLEARWAY_RUNTIME"


def marked(runtime: Path) -> list[psutil.Process]:
    """Living processes started for ``runtime``, without the caller and its ancestors."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.pid not in own and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == str(runtime):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or someone else's
    return found


def sweep(runtime: Path, seconds: float = 10.0) -> list[int]:
    """End every process of ``runtime``: SIGTERM, and SIGKILL after ``seconds``. Returns the pids that were ended."""
    left = marked(runtime)
    pids = [process.pid for process in left]
    for process in left:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(left, timeout=seconds)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs(alive, timeout=seconds)
    return pids


def _signal(process: psutil.Process, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
