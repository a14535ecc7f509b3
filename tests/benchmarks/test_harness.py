"""A bench's world: homes of its own, children that are measured, nothing left behind."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.harness import World
from serving.errors import ClearwayError


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    monkeypatch.setenv("CLEARWAY_CATALOG_URI", "postgresql://the-user's-own")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://the-user's-own")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with World(quick=True) as made:
        yield made


def test_homes_are_apart_from_each_other_and_from_the_users(world: World, tmp_path: Path) -> None:
    one, two = world.home(), world.home()
    settings = one.settings(), two.settings()
    ports = [p for s in settings for p in (s.gateway_port, s.envoy_port, s.envoy_admin_port, s.mlflow_port)]
    assert len(set(ports)) == len(ports)
    assert settings[0].home != settings[1].home
    assert all(s.home.is_relative_to(tmp_path) for s in settings)
    for environment in (one.environment, two.environment):
        assert not any("the-user's-own" in value for value in environment.values())
        assert Path(environment["HOME"]).is_relative_to(tmp_path)
        assert Path(environment["PYTHONPYCACHEPREFIX"]).is_relative_to(tmp_path)
        assert "PYTHONDONTWRITEBYTECODE" not in environment


def test_free_ports_are_free(world: World) -> None:
    for name, value in world.home().environment.items():
        if name.endswith("_PORT") and name.startswith("CLEARWAY_"):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", int(value)))


def test_a_call_is_measured_and_returns(world: World) -> None:
    done = world.call(world.home(), "benchmarks.report:percentile", values=[1, 2, 3], share=0.5)
    assert done.result == 2
    assert 0 < done.cpu_seconds < 60
    assert done.seconds > 0


def test_peak_memory_is_the_calls_and_not_the_callers(world: World) -> None:
    home = world.home()
    ballast = bytearray(os.urandom(1) * (400 * 2**20))
    small, large = (world.call(home, "tests.benchmarks.allocate:allocate", mib=mib).peak_mib for mib in (1, 300))
    assert len(ballast) > 0
    assert small < 200
    assert large - small == pytest.approx(299, abs=20)


def test_peak_memory_counts_the_calls_own_children(world: World) -> None:
    assert world.call(world.home(), "tests.benchmarks.allocate:in_a_child", mib=300).peak_mib > 300


def test_a_command_returns_nothing_of_an_earlier_call(world: World) -> None:
    home = world.home()
    world.call(home, "tests.benchmarks.allocate:allocate", mib=1)
    assert world.run(home, sys.executable, "-c", "pass").result is None


def test_a_failing_child_says_why(world: World) -> None:
    home = world.home()
    world.run(home, sys.executable, "-c", "print('an earlier child')")
    with pytest.raises(ClearwayError, match="no such thing") as caught:
        world.run(home, sys.executable, "-c", "raise SystemExit('no such thing')")
    assert "an earlier child" not in str(caught.value)


def test_what_a_child_leaves_running_is_ended(world: World) -> None:
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']).pid)"
    world.run(world.home(), sys.executable, "-c", code)
    pid = int(world.log.read_text().split()[-1])
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_leaving_removes_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world = World()
    (world.home().path / "lakehouse").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), world:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
