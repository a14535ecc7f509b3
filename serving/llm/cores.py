"""Which cores a server runs on: one lock file a core, held for the life of the process that took it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path


def machine_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def take_cores(count: int, folder: Path, cores: Sequence[int] | None = None) -> list[int]:
    """Take ``count`` cores that no other server below ``folder`` has; when too few are free, the least shared ones.

    The locks stay with the process, through exec and in its children, until the last of them ends. A previous version
    that is kept without traffic costs no time, so sharing its core beats refusing the next one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = list(cores if cores is not None else machine_cores())
    found: list[int] = []
    layer = 0
    while len(found) < min(count, len(known)):
        for core in (c for c in known if c not in found):
            handle = os.open(folder / f"{core}.{layer}", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                continue
            os.set_inheritable(handle, True)
            found.append(core)
            if len(found) == min(count, len(known)):
                break
        layer += 1
    return sorted(found)
