"""Runs Clearway's commands as a user does: in processes of their own, with a home and ports of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from serving.settings import PROJECT

SECOND_DOMAIN = PROJECT / "tests" / "second_domain"
PORTS = ("GATEWAY", "ENVOY", "ENVOY_ADMIN", "MLFLOW", "WEBSERVER", "CODE_SERVER", "GRAPH", "GRAPH_HTTP", "VECTORS")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass
class Place:
    """A home and ports, and the commands that run there."""

    home: Path
    domain: Path = PROJECT / "assets" / "domain"
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))

    def environment(self, **more: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLEARWAY_", "DAGSTER_HOME"))}
        dagster_home = self.home / "dagster"
        dagster_home.mkdir(parents=True, exist_ok=True)
        return {
            **clean,
            "PYTHONPATH": str(PROJECT),
            "CLEARWAY_HOME": str(self.home),
            "CLEARWAY_DOMAIN": str(self.domain),
            "DAGSTER_HOME": str(dagster_home),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **{f"CLEARWAY_{name}_PORT": str(port) for name, port in self.ports.items()},
            **more,
        }

    def python(self, *arguments: str, timeout: float = 600, **more: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, *arguments], timeout, more)

    def dagster(self, *arguments: str, timeout: float = 600, **more: str) -> subprocess.CompletedProcess[str]:
        return self._run([str(Path(sys.executable).with_name("dagster")), *arguments], timeout, more)

    def materialize(self, select: str, *where: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The command of the README."""
        return self.dagster(
            "asset", "materialize", "-m", "orchestration.definitions", "--select", select, *where, **more
        )

    def _run(self, command: list[str], timeout: float, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=PROJECT,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
