"""vLLM's server, whose workers do not outlive it. Runs by path under vLLM's environment, with the server's arguments.

vLLM's engine goes on when the server above it is killed, and keeps its memory, while the next server starts beside it.
A worker that is spawned runs this file too, as ``__mp_main__``. On CPU vLLM spawns, elsewhere it may fork.
"""

import ctypes
import os
import runpy
import signal
import sys

MODULE = "vllm.entrypoints.openai.api_server"
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel end this process with the one that started it. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_workers_with_this() -> None:
    """The same for each process that is forked from here on."""
    forking = [0]

    def before() -> None:
        forking[0] = os.getpid()

    def in_child() -> None:
        end_with_parent()
        if os.getppid() != forking[0]:  # it was killed before this was said
            os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)


if __name__ == "__mp_main__":
    end_with_parent()
if __name__ in ("__main__", "__mp_main__"):
    end_workers_with_this()
if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules must not shadow vLLM's
    runpy.run_module(MODULE, run_name="__main__")
