"""A real model server that fails every request once it is told to, and the controller that starts one such server.

``python -m benchmarks.faulty_server controller ARM`` is the rollout controller, whose arm of that name is
``python -m benchmarks.faulty_server FLAG <arguments of serving.models.server>``: the usual server, which answers 500
while the file FLAG exists, and notes the time of each such answer in ``FLAG.failed``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.models import server
from serving.runtime.arms import PREFIX, LocalArms
from serving.runtime.program import Program, clearway_environment, python
from serving.runtime.supervisor import Supervisor
from serving.settings import Settings, get_settings


def flag(arm: str, settings: Settings) -> Path:
    """The file whose existence makes the arm fail."""
    return settings.home / "faults" / arm


def failed(arm: str, settings: Settings) -> list[float]:
    """When requests reached the arm and it failed them: seconds since the epoch, in order."""
    file = flag(arm, settings).with_suffix(".failed")
    return sorted(map(float, file.read_text().split())) if file.exists() else []


class OneFaultyArm(LocalArms):
    """The usual arms, but for one."""

    def __init__(self, supervisor: Supervisor, arm: str) -> None:
        super().__init__(supervisor)
        self._arm = arm

    def ensure(self, arm: str, model: str, version: str, port: int, replica: int = 0) -> None:
        if arm != self._arm:
            super().ensure(arm, model, version, port, replica)
            return
        settings = self._supervisor.settings
        arguments = ("--model", model, "--version", version, "--port", str(port), "--arm", arm)
        command = python("benchmarks.faulty_server", str(flag(arm, settings)), *arguments)
        environment = clearway_environment(settings)
        self._supervisor.add_program(Program(PREFIX + arm, command, environment, priority=300))


class Failing:
    """ASGI middleware that fails predictions while ``file`` exists; plain, since a slow one would be judged as well."""

    def __init__(self, app: ASGIApp, file: Path) -> None:
        self._app, self._file, self._noted = app, file, file.with_suffix(".failed")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict" and self._file.exists():
            with self._noted.open("a") as lines:
                lines.write(f"{time.time()}\n")
            refusal = Response('{"error": {"reason": "injected", "message": "injected"}}', 500)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def main() -> None:
    if sys.argv[1] == "controller":
        from serving.rollout import controller

        controller.run(OneFaultyArm(Supervisor(get_settings()), sys.argv[2]))
        return
    file = Path(sys.argv.pop(1))
    create = server.create_app

    def create_app(*arguments: Any) -> FastAPI:
        app = create(*arguments)
        app.add_middleware(Failing, file=file)
        return app

    server.create_app = create_app  # type: ignore[assignment]
    server.main()


if __name__ == "__main__":
    main()
