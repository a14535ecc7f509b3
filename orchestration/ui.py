"""`make ui`, `make status`, `make stop`: Dagster's and MLflow's pages and the daemon, under the same supervisor."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from orchestration.home import prepare
from serving.errors import ClearwayError
from serving.runtime.laptop import stop_all
from serving.runtime.program import Program, clearway_environment
from serving.runtime.supervisor import Supervisor
from serving.settings import PROJECT, Settings, get_settings

CODE, WEBSERVER, DAEMON, MLFLOW = "dagster-code", "dagster-webserver", "dagster-daemon", "mlflow"
PATIENCE_S = 120.0
WORKSPACE = """load_from:
  - grpc_server: {{host: {host}, port: {port}, location_name: clearway}}
"""


def start(settings: Settings) -> None:
    """Bring up the pages, or attach to what runs; a second daemon is never started.

    One code server serves both: the daemon would make a new one every minute, and the webserver one of its own.
    """
    environment = {**clearway_environment(settings), **prepare(settings), "PYTHONPATH": str(PROJECT)}
    binaries = Path(sys.executable).parent
    file = settings.home / "dagster" / "workspace.yaml"
    file.write_text(WORKSPACE.format(host=settings.host, port=settings.code_server_port))
    workspace = ("-w", str(file))
    supervisor = Supervisor(settings)
    supervisor.ensure_running()
    code = (
        str(binaries / "dagster"),
        "code-server",
        "start",
        "-m",
        "orchestration.definitions",
        "-d",
        str(PROJECT),
        "--location-name",
        "clearway",
        "-h",
        settings.host,
        "-p",
        str(settings.code_server_port),
    )
    webserver = (
        str(binaries / "dagster-webserver"),
        *workspace,
        "-h",
        settings.host,
        "-p",
        str(settings.webserver_port),
    )
    mlflow = (
        str(binaries / "mlflow"),
        "server",
        "--backend-store-uri",
        settings.mlflow,
        "--default-artifact-root",
        settings.mlflow_artifacts,
        "--host",
        settings.host,
        "--port",
        str(settings.mlflow_port),
        "--workers",
        "1",
    )
    supervisor.add_program(Program(CODE, code, environment, priority=490))
    supervisor.add_program(Program(MLFLOW, mlflow, environment, priority=520))
    _await_code(settings)
    supervisor.add_program(Program(WEBSERVER, webserver, environment, priority=500))
    supervisor.add_program(
        Program(DAEMON, (str(binaries / "dagster-daemon"), "run", *workspace), environment, priority=510)
    )
    pages = {
        "Dagster": f"http://{settings.host}:{settings.webserver_port}",
        "MLflow": f"http://{settings.host}:{settings.mlflow_port}",
    }
    for name, address in pages.items():
        _await(name, address)
        print(f"{name:8} {address}")


def _await_code(settings: Settings) -> None:
    """Wait until the code is loaded: a daemon that finds it absent looks again after a minute only."""
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.client import DagsterGrpcClient

    deadline = time.monotonic() + PATIENCE_S
    client = DagsterGrpcClient(host=settings.host, port=settings.code_server_port)
    while time.monotonic() < deadline:
        with suppress(DagsterUserCodeUnreachableError):
            client.ping("ready?")
            return
        time.sleep(0.5)
    raise ClearwayError(
        f"the code server does not answer on port {settings.code_server_port} after {PATIENCE_S:.0f} s.",
        untouched="the stores and the prediction service.",
        todo=f"look at the logs in {settings.runtime / 'logs'}; do the definitions load? dagster definitions validate",
    )


def _await(name: str, address: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ClearwayError(
        f"{name} does not answer on {address} after {PATIENCE_S:.0f} s.",
        untouched="the stores and the prediction service.",
        todo=f"look at the logs in {get_settings().runtime / 'logs'}; is the port taken?",
    )


def status(settings: Settings) -> None:
    """Print what the supervisor runs."""
    supervisor = Supervisor(settings)
    if supervisor.pid() is None:
        print("nothing runs")
        return
    for name, program in sorted(supervisor.status().items()):
        print(f"{name:28} {program.state.lower():9} {program.description}")


def main() -> int:
    what = sys.argv[1] if len(sys.argv) > 1 else "start"
    try:
        settings = get_settings()
        if what == "stop":
            ended = stop_all(settings)
            print(f"stopped; {len(ended)} processes had to be killed" if ended else "stopped")
        elif what == "status":
            status(settings)
        else:
            start(settings)
    except ClearwayError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
