"""A real model server that fails as it is told by a file: ``python -m tests.serving.rollout.faulty FAULTS <server's>``.

The file holds JSON, read again at each request: ``{"fail": share, "die": true, "slow_ms": ms, "slow_share": share,
"nonsense": true, "refuse": true, "measures": "name=number"}``. All else is the server of ``serving.models.server``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

from serving.models import server
from serving.rollout.observations import MEASURES_HEADER
from serving.runtime.arms import PREFIX, LocalArms, server_name
from serving.runtime.program import Program, clearway_environment, python
from serving.runtime.supervisor import Supervisor
from serving.settings import get_settings


class FaultyArms(LocalArms):
    """Arms whose servers obey a file of faults, ``<home>/faults/<arm>.json``, where there is one."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(supervisor)
        self._supervisor = supervisor

    def ensure(self, arm: str, model: str, version: str, port: int, replica: int = 0) -> None:
        faults = self._supervisor.settings.home / "faults" / f"{arm}.json"
        arguments = (
            "--model",
            model,
            "--version",
            version,
            "--port",
            str(port),
            "--arm",
            arm,
            "--replica",
            str(replica),
        )
        self._supervisor.add_program(
            Program(
                name=PREFIX + server_name(arm, replica),
                command=python("tests.serving.rollout.faulty", str(faults), *arguments),
                environment=clearway_environment(self._supervisor.settings),
                priority=300,
            )
        )


def faults_of(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def install(app: FastAPI, file: Path) -> None:
    @app.middleware("http")
    async def fail(request: Request, answer: Any) -> Response:
        faults = faults_of(file) if request.url.path == "/predict" else {}
        if "-smoke-" in request.headers.get("x-request-id", ""):
            faults = {}
        if faults.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if random.random() < faults.get("fail", 0):
            return Response('{"error": {"reason": "injected", "message": "injected"}}', 500)
        if faults.get("refuse"):
            return Response('{"error": {"reason": "invalid_request", "message": "a field is missing"}}', 422)
        if random.random() < faults.get("slow_share", 1) and faults.get("slow_ms"):
            await asyncio.sleep(faults["slow_ms"] / 1000)
        if faults.get("nonsense"):
            return Response("{}", 200, {"x-clearway-measures": "invalid=1"}, media_type="application/json")
        response: Response = await answer(request)
        if faults.get("measured", True):
            own = response.headers.get(MEASURES_HEADER)
            response.headers[MEASURES_HEADER] = ",".join(filter(None, (own, faults.get("measures", "invalid=0"))))
        return response


def run_controller() -> None:
    """The rollout controller with arms that may fail."""
    from serving.rollout import controller

    controller.run(FaultyArms(Supervisor(get_settings())))


if __name__ == "__main__":
    if sys.argv[1:] == ["controller"]:
        run_controller()
    else:
        faults = Path(sys.argv.pop(1))
        create = server.create_app

        def create_app(*arguments: Any) -> FastAPI:
            app = create(*arguments)
            install(app, faults)
            return app

        server.create_app = create_app  # type: ignore[assignment]
        server.main()
