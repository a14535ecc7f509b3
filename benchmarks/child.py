"""A bench's child process: ``python -m benchmarks.child module:function '{"argument": ...}'``."""

import importlib
import json
import os
import resource
import sys
from pathlib import Path


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    Path(os.environ["BENCH_ANSWER"]).write_text(json.dumps({"result": result, "peak_mib": _peak_mib()}))


def _peak_mib() -> float:
    """Peak resident memory of the largest of this process and those that it waited for."""
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        # On Linux ru_maxrss begins with what the parent had at the fork; the high-water mark begins at the exec.
        lines = Path("/proc/self/status").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / per_mib


if __name__ == "__main__":
    main()
