"""Arms as programs of supervisord: one server a version, of a tabular model or of a language model."""

from __future__ import annotations

from serving.llm.spec import is_llm
from serving.models.registry import cache_folder
from serving.runtime.program import Program, clearway_environment, python
from serving.runtime.supervisor import Supervisor

PREFIX = "arm-"
TABULAR_SERVER, LLM_SERVER = "serving.models.server", "serving.llm.launch"
LLM_STOP_SECONDS = 40


def arm_name(model: str, version: str) -> str:
    """The name of the arm that serves a version, unique over all models."""
    return f"{model}-v{version}"


def server_name(arm: str, replica: int) -> str:
    """The name of one of an arm's servers; the first has the arm's own."""
    return arm if replica == 0 else f"{arm}.{replica}"


class LocalArms:
    """Starts and stops servers on this machine."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def ensure(self, arm: str, model: str, version: str, port: int, replica: int = 0) -> None:
        """Have one of the arm's servers run on ``port``; nothing happens when it does."""
        llm = is_llm(cache_folder(model, version, self._supervisor.settings))
        module = LLM_SERVER if llm else TABULAR_SERVER
        named = ("--arm", arm, *(("--replica", str(replica)) if replica else ()))
        self._supervisor.add_program(
            Program(
                name=PREFIX + server_name(arm, replica),
                command=python(module, "--model", model, "--version", version, "--port", str(port), *named),
                environment=clearway_environment(self._supervisor.settings),
                priority=300,
                # A language model's server ends the answers that it has begun, if its workers are left to it.
                stop_seconds=LLM_STOP_SECONDS if llm else Program.stop_seconds,
                stop_group=not llm,
            )
        )

    def running(self) -> set[str]:
        """Names of the servers that have a program, in whatever state."""
        return {name.removeprefix(PREFIX) for name in self._supervisor.status() if name.startswith(PREFIX)}

    def alive(self, server: str) -> bool:
        """Whether the server's process runs."""
        status = self._supervisor.status().get(PREFIX + server)
        return status is not None and status.pid is not None

    def remove(self, server: str) -> bool:
        """Have the server end what it has begun, stop and be forgotten; whether it is gone. Waits for nothing."""
        return self._supervisor.retire_program(PREFIX + server)
