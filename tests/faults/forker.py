"""Runs stages in children that can be killed: a process imports what stages need once, and forks for each."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import SECOND_DOMAIN, Place


@dataclass(frozen=True)
class Ended:
    """How a child ended: its return code as ``subprocess`` counts it, its result, or the error it raised."""

    code: int
    result: Any = None
    error: str | None = None
    what: str | None = None
    untouched: str | None = None
    todo: str | None = None


class Forker:
    """One home and the process that runs its stages."""

    def __init__(self, home: Path) -> None:
        self.place = Place(home, SECOND_DOMAIN)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forker"],
            env=self.place.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, stage: str, *arguments: Any, limit: int | None = None, **environment: str) -> None:
        """Begin a stage; ``ended`` tells how it went. ``limit``: bytes that a file may grow to, as on a full disk."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([stage, arguments, environment, limit]) + "\n")
        self.process.stdin.flush()

    def ended(self) -> Ended:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the forker died"
        return Ended(**json.loads(line))

    def run(self, stage: str, *arguments: Any, limit: int | None = None, **environment: str) -> Ended:
        self.start(stage, *arguments, limit=limit, **environment)
        return self.ended()

    def does(self, stage: str, *arguments: Any) -> Any:
        """Run a stage that must succeed; its result."""
        ended = self.run(stage, *arguments)
        assert ended.code == 0, ended
        return ended.result

    def killed(self, boundary: str, stage: str, *arguments: Any) -> None:
        """Run a stage that must die by SIGKILL at the boundary."""
        ended = self.run(stage, *arguments, CLEARWAY_CRASH_AT=boundary)
        assert ended.code == -signal.SIGKILL, ended

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


def _child(write: int, stage: str, arguments: list[Any], environment: dict[str, str], limit: int | None) -> None:
    from serving.errors import ClearwayError
    from tests.faults.library import Library

    os.environ.update(environment)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        answer: dict[str, Any] = {"result": getattr(Library(Path(os.environ["CLEARWAY_HOME"])), stage)(*arguments)}
    except ClearwayError as error:
        answer = {"error": type(error).__name__, "what": error.what, "untouched": error.untouched, "todo": error.todo}
    except BaseException as error:
        answer = {"error": type(error).__name__, "what": traceback.format_exc()}
    os.write(write, json.dumps(answer).encode())
    os._exit(1 if "error" in answer else 0)


def main() -> None:
    # Imported, not used: a used library may own threads, which a fork would lose.
    import duckdb  # noqa: F401
    import feast  # noqa: F401
    import great_expectations  # noqa: F401

    import assets.features.sets
    import assets.warehouse.assets  # noqa: F401

    answers = os.dup(1)
    os.dup2(2, 1)  # what the stages print is not an answer
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _child(write, *json.loads(line))
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), **(json.loads(said) if said else {})}
        os.write(answers, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
