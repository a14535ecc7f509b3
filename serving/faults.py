"""Named boundaries at which a test kills the process, to prove that a rerun ends in the same state."""

from __future__ import annotations

import os
import signal

VARIABLE = "CLEARWAY_CRASH_AT"


def boundary(name: str) -> None:
    """Die by SIGKILL when ``CLEARWAY_CRASH_AT`` names this boundary; otherwise do nothing."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
