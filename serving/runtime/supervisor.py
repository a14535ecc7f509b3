"""supervisord over all processes of a laptop: one daemon a CLEARWAY_HOME, programs added and removed while it runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError
from serving.runtime import processes
from serving.runtime.program import Program, _value, render
from serving.settings import Settings, get_settings

# A Unix socket's path holds about 104 bytes, and supervisord first binds a longer name beside it.
MAX_SOCKET_PATH = 90
START_SECONDS, STOP_SECONDS = 20.0, 60.0


class RuntimeFault(ClearwayError):
    """supervisord cannot be started, reached, or does not do what it was told."""


@dataclass(frozen=True)
class ProgramStatus:
    """``state`` in supervisord's words: RUNNING, STARTING, BACKOFF, STOPPED, EXITED, FATAL, STOPPING, UNKNOWN."""

    name: str
    state: str
    pid: int | None
    uptime_s: float
    description: str


class Supervisor:
    """One supervisord and its programs. Any process may hold one; a file lock orders what they change."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or get_settings()
        self.folder = self.settings.runtime
        self.logs = self.folder / "logs"
        self._conf = self.folder / "supervisord.conf"
        self._programs = self.folder / "conf.d"

    # Connection

    @property
    def socket(self) -> Path:
        """The control socket: in the runtime folder, or in a short temporary one when that path is too long."""
        near = self.folder / "supervisor.sock"
        if len(os.fsencode(near)) <= MAX_SOCKET_PATH:
            return near
        recorded = self.folder / "socket-path"
        if recorded.exists():
            return Path(recorded.read_text())
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]
        # mkdtemp makes it ours alone (0700), whoever else uses the temporary folder.
        path = Path(tempfile.mkdtemp(prefix=f"cw-{digest}-", dir="/tmp")) / "s.sock"
        recorded.write_text(str(path))
        return path

    def _rpc(self) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def pid(self) -> int | None:
        """supervisord's pid, or None when none answers."""
        if not self.folder.exists():
            return None
        try:
            return int(self._rpc().getPID())
        except (OSError, xmlrpc.client.Error):
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # Life

    def ensure_running(self) -> None:
        """Start supervisord, or do nothing when it runs. Programs of an earlier life are started with it.

        Raises:
            RuntimeFault: it does not come up; the message has the end of its log.
        """
        with self._locked():
            if self.pid() is not None:
                return
            # A supervisord that was killed leaves its programs behind, on the ports that the new ones need.
            processes.sweep(self.folder)
            self._programs.mkdir(parents=True, exist_ok=True)
            self.logs.mkdir(parents=True, exist_ok=True)
            self.socket.parent.mkdir(parents=True, exist_ok=True)
            self.socket.unlink(missing_ok=True)
            self._conf.write_text(self._configuration())
            command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._conf)]
            environment = {**os.environ, processes.MARK: str(self.folder)}
            done = subprocess.run(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            deadline = time.monotonic() + START_SECONDS
            while done.returncode == 0 and time.monotonic() < deadline:
                if self.pid() is not None:
                    return
                time.sleep(0.05)
            log = self.logs / "supervisord.log"
            tail = log.read_text().splitlines()[-5:] if log.exists() else []
            raise RuntimeFault(
                f"supervisord did not start: {' / '.join([*done.stderr.splitlines()[-3:], *tail])}",
                untouched="everything but the runtime folder.",
                todo=f"look at {log}; free its disk or remove {self.folder} and try again.",
            )

    def _configuration(self) -> str:
        return "\n".join(
            [
                "[unix_http_server]",
                f"file={_value(str(self.socket), 'socket')}",
                "chmod=0700",
                "[supervisord]",
                f"logfile={_value(str(self.logs / 'supervisord.log'), 'log file')}",
                "logfile_maxbytes=5MB",
                "logfile_backups=2",
                f"pidfile={_value(str(self.folder / 'supervisord.pid'), 'pid file')}",
                f"childlogdir={_value(str(self.logs), 'logs')}",
                "minfds=4096",
                "[rpcinterface:supervisor]",
                "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
                "[include]",
                f"files={_value(str(self._programs), 'programs')}/*.conf",
                "",
            ]
        )

    def stop(self) -> list[int]:
        """Stop supervisord and all programs; afterwards no process of this home is left.

        Returns:
            pids of stragglers that supervisord had lost and that were ended here.

        Raises:
            RuntimeFault: a process does not go away.
        """
        if not self.folder.exists():
            return []
        with self._locked():
            pid = self.pid()
            if pid is not None:
                self._rpc().shutdown()
                deadline = time.monotonic() + STOP_SECONDS
                while processes.psutil.pid_exists(pid) and time.monotonic() < deadline:
                    time.sleep(0.05)
            # What is left now was sent SIGTERM with its group before.
            ended = processes.sweep(self.folder, seconds=1)
            self.socket.unlink(missing_ok=True)
            recorded = self.folder / "socket-path"
            if recorded.exists():
                self.socket.parent.rmdir()
                recorded.unlink()
            left = [process.pid for process in processes.marked(self.folder)]
            if left:
                raise RuntimeFault(f"processes {left} do not end", todo="end them by hand: kill -9.")
            return ended

    # Programs

    def _file(self, name: str) -> Path:
        return self._programs / f"{name}.conf"

    def add_program(self, program: Program) -> None:
        """Make supervisord run ``program``. Nothing happens when it does already; a changed one is restarted.

        Raises:
            RuntimeFault: supervisord does not run, or refuses the program.
        """
        text = render(program, self.logs)
        with self._locked():
            known = self._groups()
            file = self._file(program.name)
            if program.name in known and file.exists() and file.read_text() == text:
                self._start_if_down(program)
                return
            aside = file.with_suffix(".new")
            aside.touch(mode=0o600)
            aside.write_text(text)
            os.replace(aside, file)
            if program.name in known:
                self._stop_group(program.name)
            try:
                self._rpc().reloadConfig()
                self._rpc().addProcessGroup(program.name)
            except xmlrpc.client.Fault as fault:
                raise RuntimeFault(f"supervisord does not take program {program.name}: {fault.faultString}") from fault

    def _start_if_down(self, program: Program) -> None:
        status = self.status().get(program.name)
        if program.autostart and status is not None and status.state in ("STOPPED", "EXITED", "FATAL"):
            try:
                self._rpc().startProcess(program.name, False)
            except xmlrpc.client.Fault as fault:
                raise RuntimeFault(f"program {program.name} does not start: {fault.faultString}") from fault

    def _groups(self) -> set[str]:
        return set(self.status())

    def _stop_group(self, name: str) -> None:
        self._rpc().stopProcessGroup(name, True)
        self._rpc().removeProcessGroup(name)

    def remove_program(self, name: str) -> None:
        """Stop a program and forget it; nothing happens when there is none of that name."""
        with self._locked():
            if name in self._groups():
                self._stop_group(name)
            self._file(name).unlink(missing_ok=True)

    def retire_program(self, name: str) -> bool:
        """Have a program stop and be forgotten, without waiting for it: call again until it is gone, which it says."""
        with self._locked():
            status = self.status().get(name)
            if status is not None and status.state in ("RUNNING", "STARTING", "BACKOFF"):
                self._rpc().stopProcessGroup(name, False)
                return False
            if status is not None and status.state == "STOPPING":
                return False
            if status is not None:
                self._rpc().removeProcessGroup(name)
            self._file(name).unlink(missing_ok=True)
            return True

    def restart_program(self, name: str) -> None:
        """Stop a program and start it again."""
        with self._locked():
            self._rpc().stopProcessGroup(name, True)
            self._rpc().startProcessGroup(name, False)

    def status(self) -> dict[str, ProgramStatus]:
        """State of every program by name.

        Raises:
            RuntimeFault: supervisord does not run.
        """
        try:
            found = self._rpc().getAllProcessInfo()
        except (OSError, xmlrpc.client.Error) as error:
            raise RuntimeFault(
                f"supervisord of {self.folder} does not answer: {error}",
                todo="start it: Supervisor().ensure_running().",
            ) from error
        return {
            info["name"]: ProgramStatus(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"] or None,
                uptime_s=float(info["now"] - info["start"]) if info["statename"] == "RUNNING" else 0.0,
                description=info["description"],
            )
            for info in found
        }
