"""``python -m benchmarks [name] [--quick]``: prints a table a bench, writes ``$CLEARWAY_HOME/bench/<name>.json``."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from datetime import UTC, datetime

from rich.console import Console

from benchmarks import report
from benchmarks.harness import LeftOut, World
from serving.errors import ClearwayError
from serving.settings import get_settings

# In this order, because the first leaves a released version for the next three.
BENCHES = (
    *("lifecycle", "serving", "monitoring", "metrics", "increment", "volume", "definitions", "evidence", "detection"),
    *("policies", "delivery", "llm", "copilot", "multihop", "knowledge"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHES, help="one bench; all without it")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: a smoke check, not a measurement")
    options = parser.parse_args()
    from assets.training.tabular.register import code_commit

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)
    failed: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is stopped
    try:
        folder = get_settings().home / "bench"
        with World(quick=options.quick, console=console) as world:
            world.warm()
            for name in [options.name] if options.name else BENCHES:
                console.print(f"[bold]{name}[/]")
                started, load = datetime.now(UTC), os.getloadavg()[0]
                world.details = {}
                try:
                    rows = importlib.import_module(f"benchmarks.{name}").measure(world)
                except LeftOut as error:
                    failed += [name] if options.name else []
                    console.print(f"{name} is left out: {error}\n")
                    continue
                except ClearwayError as error:
                    failed.append(name)
                    console.print(f"[red]{name} could not be measured[/]\n{error}", markup=True)
                    continue
                content = report.as_json(rows, code_commit(), started, quick=options.quick, load=load)
                content |= {"details": world.details} if world.details else {}
                file = report.write(folder, name, content)
                console.print(report.table("", rows), f"[dim]{file}[/]\n")
    except ClearwayError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
