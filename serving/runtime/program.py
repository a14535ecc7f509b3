"""A program that supervisord runs, and its configuration text."""

from __future__ import annotations

import random
import shlex
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from serving.errors import ClearwayError
from serving.settings import PROJECT, Settings

# Below the ports that Linux and macOS hand out for outgoing connections, so that none of those takes one first.
PORTS = range(20000, 30000)


@dataclass(frozen=True)
class Program:
    """One program: ``command`` is run in ``directory`` with ``environment`` on top of supervisord's own.

    ``priority`` orders start and stop (low starts first, stops last); ``stop_seconds`` is the time between SIGTERM and
    SIGKILL, both to the whole process group; without ``stop_group`` the SIGTERM goes to the first process only.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = PROJECT
    priority: int = 500
    stop_seconds: int = 15
    stop_group: bool = True
    autostart: bool = True


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this project with this interpreter."""
    return (sys.executable, "-m", module, *arguments)


def clearway_environment(settings: Settings) -> dict[str, str]:
    """The environment by which a child reads the same settings as the caller, whatever the caller's own environment.

    Also keeps numeric libraries to one thread (the processes share few cores) and telemetry off.
    """
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    plain = {name: v.get_secret_value() if isinstance(v, SecretStr) else str(v) for name, v in values.items() if v}
    return {
        **{f"CLEARWAY_{name.upper()}": value for name, value in plain.items()},
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def free_port(host: str = "127.0.0.1", taken: Iterable[int] = ()) -> int:
    """A port nobody listens on and that is not in ``taken``. Another process may still take it before you do."""
    avoid = set(taken)
    for port in random.sample(PORTS, len(PORTS)):
        if port not in avoid and not port_in_use(port, host):
            return port
    raise ClearwayError(f"no free port between {PORTS.start} and {PORTS.stop}", todo="stop what listens there.")


def port_in_use(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a listener could not be opened on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _value(text: str, where: str) -> str:
    """Text as a value of supervisord's configuration file."""
    if "\n" in text or " ;" in text or " #" in text:
        raise ClearwayError(f"{where} cannot be written to supervisord's configuration: {text!r}")
    return text.replace("%", "%%")


def _variable(name: str, text: str) -> str:
    quote = "'" if '"' in text else '"'
    if quote in text:
        raise ClearwayError(f"environment variable {name} holds both kinds of quotes")
    return f"{name}={quote}{_value(text, name)}{quote}"


def render(program: Program, logs: Path) -> str:
    """The ``[program:...]`` section."""
    environment = ",".join(_variable(k, v) for k, v in sorted(program.environment.items()))
    lines = [
        f"[program:{program.name}]",
        f"command={_value(shlex.join(program.command), 'command')}",
        f"directory={_value(str(program.directory), 'directory')}",
        *([f"environment={environment}"] if environment else []),
        f"priority={program.priority}",
        f"autostart={str(program.autostart).lower()}",
        "autorestart=true",
        "startsecs=1",
        "startretries=20",
        f"stopwaitsecs={program.stop_seconds}",
        f"stopasgroup={str(program.stop_group).lower()}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_value(str(logs / program.name), 'log file')}.log",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=2",
    ]
    return "\n".join(lines) + "\n"
