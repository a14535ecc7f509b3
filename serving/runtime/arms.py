"""Arms as programs of supervisord: one model server a version."""

from __future__ import annotations

from serving.runtime.program import Program, clearway_environment, python
from serving.runtime.supervisor import Supervisor

PREFIX = "arm-"


def arm_name(model: str, version: str) -> str:
    """The name of the arm that serves a version, unique over all models."""
    return f"{model}-v{version}"


class LocalArms:
    """Starts and stops model servers on this machine."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def ensure(self, arm: str, model: str, version: str, port: int) -> None:
        """Have the arm run on ``port``; nothing happens when it does."""
        self._supervisor.add_program(
            Program(
                name=PREFIX + arm,
                command=python(
                    "serving.models.server", "--model", model, "--version", version, "--port", str(port), "--arm", arm
                ),
                environment=clearway_environment(self._supervisor.settings),
                priority=300,
            )
        )

    def running(self) -> set[str]:
        """Names of the arms that have a program, in whatever state."""
        return {name.removeprefix(PREFIX) for name in self._supervisor.status() if name.startswith(PREFIX)}

    def alive(self, arm: str) -> bool:
        """Whether the arm's process runs."""
        status = self._supervisor.status().get(PREFIX + arm)
        return status is not None and status.pid is not None

    def remove(self, arm: str) -> None:
        """Stop the arm and forget it."""
        self._supervisor.remove_program(PREFIX + arm)
