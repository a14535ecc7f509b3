"""Where benches work: temporary homes on free ports, child processes that are timed, and an end that leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from orchestration.home import QUIET
from serving.errors import ClearwayError
from serving.runtime.program import free_port
from serving.settings import PROJECT, Settings

PORTS = tuple(name for name in Settings.model_fields if name.endswith("_port"))
FOREIGN = ("CLEARWAY_", "DAGSTER_", "DBT_", "MLFLOW_", "FEAST_")  # the user's own settings, which no bench reads
PATIENCE_S = 1800.0


class LeftOut(ClearwayError):
    """What a bench measures is optional and not installed: among all benches it is left out, by itself it fails."""


@dataclass(frozen=True)
class Child:
    """A process that ended well: wall and CPU seconds and, of a call, its result and its peak memory.

    ``peak_mib`` is the peak resident memory of the largest process among it and its own children.
    """

    seconds: float
    cpu_seconds: float
    result: Any = None
    peak_mib: float = float("nan")


@dataclass(frozen=True)
class Home:
    """A temporary CLEARWAY_HOME with ports of its own."""

    path: Path
    environment: Mapping[str, str]

    def settings(self) -> Settings:
        ports = {name: int(self.environment[f"CLEARWAY_{name.upper()}"]) for name in PORTS}
        return Settings(home=self.path, domain=Path(self.environment["CLEARWAY_DOMAIN"]), **ports)  # type: ignore[arg-type]


class World:
    """The temporary world of one invocation; leaving it stops every process and removes every file.

    Attributes:
        quick: fewer repetitions: a smoke check and no measurement.
        details: what a bench adds to its file beside the rows; JSON.
    """

    def __init__(self, *, quick: bool = False, console: Console | None = None) -> None:
        for name in [n for n in os.environ if n.startswith(FOREIGN)]:
            del os.environ[name]
        self.quick = quick
        self.details: dict[str, Any] = {}
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.root = Path(tempfile.mkdtemp(prefix="clearway-bench-"))
        self.log = self.root / "children.log"
        self._ports: list[int] = []
        self._homes: list[Home] = []
        self._released: Home | None = None
        # Files of libraries below the user's home folder and the temporary folder land here too.
        self._base = {**os.environ, **QUIET, "HOME": str(self.root / "user"), "TMPDIR": str(self.root / "tmp")}
        # Without kept byte code each process compiles all that it imports, which is no cost of a machine in use.
        self._base.pop("PYTHONDONTWRITEBYTECODE", None)
        self._base["PYTHONPYCACHEPREFIX"] = str(self.root / "bytecode")
        for name in ("user", "tmp"):
            (self.root / name).mkdir()

    def warm(self) -> None:
        """Fill the caches that every later process shares, so that no side of a comparison pays for them."""
        self.call(self.home(), "benchmarks.stages:fill_caches")

    def repeats(self, full: int, quick: int = 1) -> int:
        return quick if self.quick else full

    def say(self, text: str) -> None:
        self.console.print(f"[dim]  {text}[/]")

    def home(self, domain: Path = PROJECT / "assets" / "domain") -> Home:
        """A new, empty home."""
        path = self.root / f"home{len(self._homes)}"
        environment = {
            **self._base,
            "CLEARWAY_HOME": str(path),
            "CLEARWAY_DOMAIN": str(domain),
            "DAGSTER_HOME": str(path / "dagster"),
        }
        for name in PORTS:
            self._ports.append(free_port(taken=self._ports))
            environment[f"CLEARWAY_{name.upper()}"] = str(self._ports[-1])
        self._homes.append(Home(path, environment))
        return self._homes[-1]

    def released(self) -> Home:
        """A home with a released version and serving up; the lifecycle bench leaves one, else it is made now."""
        if self._released is None:
            self.say("running the life cycle once, for a released version to measure")
            home = self.home()
            self.call(home, "benchmarks.stages:begin")
            self.call(home, "benchmarks.lifecycle:with_dagster")
            self._released = home
        else:
            self.call(self._released, "benchmarks.stages:begin")
        return self._released

    def keep_released(self, home: Home) -> None:
        self._released = home

    def built(self) -> Home:
        """A home with the warehouse of all months, nothing running."""
        if self._released is not None:
            self.quiet()
            return self._released
        self.say("building the warehouse of all months once")
        home = self.home()
        self.call(home, "benchmarks.stages:build_all")
        return home

    def call(self, home: Home, function: str, **arguments: Any) -> Child:
        """Run ``module:function(**arguments)`` in a process of its own; its result comes back as JSON."""
        return self.run(home, sys.executable, "-m", "benchmarks.child", function, json.dumps(arguments))

    def run(
        self, home: Home, *command: str, cwd: Path = PROJECT, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Run a command to its end and measure it.

        Raises:
            ClearwayError: it fails or takes longer than half an hour; the message has the end of its output.
        """
        answer = self.root / "answer.json"
        answer.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            began = log.tell()
            started = time.perf_counter()
            process = subprocess.Popen(
                command,
                env={**home.environment, **(environment or {}), "BENCH_ANSWER": str(answer)},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            timer = threading.Timer(PATIENCE_S, _end_group, [process.pid])
            timer.start()
            try:
                # wait4, since only it gives the CPU time of this one child and of those it waited for.
                _, status, usage = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - started
                process.returncode = os.waitstatus_to_exitcode(status)
            finally:
                timer.cancel()
                _end_group(process.pid)
        if process.returncode:
            with self.log.open("rb") as log:
                log.seek(began)
                tail = log.read().decode(errors="replace").splitlines()[-25:]
            raise ClearwayError(
                f"{' '.join(command[1:5])} ended with {process.returncode}:\n" + "\n".join(tail),
                untouched="everything outside the bench's temporary folder.",
                todo="mend what the output names and run the bench again.",
            )
        returned = json.loads(answer.read_text()) if answer.exists() else {}
        return Child(seconds, usage.ru_utime + usage.ru_stime, **returned)

    def quiet(self, home: Home | None = None) -> None:
        """Stop the processes of a home, or of all homes; the files stay."""
        from serving.runtime.laptop import stop_all

        for each in [home] if home else self._homes:
            stop_all(each.settings())

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.quiet()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)


def _end_group(group: int) -> None:
    """End a child and what it left behind in its own session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
