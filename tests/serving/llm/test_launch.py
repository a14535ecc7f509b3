"""The launcher, up to the moment at which it becomes vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.errors import ClearwayError
from serving.llm import launch, paths
from serving.llm.memory import DoesNotFit
from serving.settings import Settings
from tests.serving.llm import fake
from tests.serving.llm.test_spec import weights


class Became(BaseException):
    """Ends the launcher where exec would have."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    found = Settings(home=tmp_path / "home")
    weights(paths.models(found) / "tiny" / "model.safetensors", a=("BF16", [10, 100], 2))
    environment = tmp_path / "environment"
    for file in ("bin/python", "lib/libiomp5.so"):
        (environment / file).parent.mkdir(parents=True, exist_ok=True)
        (environment / file).touch()
    monkeypatch.setattr(paths, "ENVIRONMENT", environment)
    monkeypatch.setattr(launch, "preloads", lambda: [str(environment / "lib/libiomp5.so")])
    monkeypatch.setattr(launch, "machine", lambda: "cpu")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1 << 34})())
    return found


def become(settings: Settings, monkeypatch: pytest.MonkeyPatch, model: str = fake.MODEL) -> tuple[list[str], Any]:
    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        assert path == arguments[0]
        raise Became(arguments, environment)

    monkeypatch.setattr("os.execve", execve)
    with pytest.raises(Became) as caught:
        launch.launch(model, "1", 20001, fake.arm("1"), settings)
    return caught.value.args  # type: ignore[return-value]


def test_it_becomes_vllm_on_a_core_of_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/the/projects/own")
    monkeypatch.setenv("LD_PRELOAD", "/inherited.so")
    fake.write_version(settings, "1", fake.spec(base="tiny"))
    arguments, environment = become(settings, monkeypatch)
    assert arguments[arguments.index("--port") + 1] == "20001"
    assert arguments[arguments.index("--served-model-name") + 1] == fake.MODEL
    assert environment["VLLM_CPU_OMP_THREADS_BIND"].isdigit()
    assert environment["LD_PRELOAD"].split(":") == [str(paths.ENVIRONMENT / "lib/libiomp5.so"), "/inherited.so"]
    assert "PYTHONPATH" not in environment


def test_it_refuses_what_cannot_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.write_version(settings, "1", fake.spec(base="tiny"))
    other = settings.home / "models" / "roses"
    other.mkdir(parents=True)
    (settings.home / "models" / fake.MODEL / "1").rename(other / "1")
    with pytest.raises(ClearwayError, match="says it is model 'gardener'"):
        launch.launch("roses", "1", 20001, "roses-v1", settings)
    fake.write_version(settings, "1", fake.spec(base="tiny", kv_cache_bytes=1 << 34))
    with pytest.raises(DoesNotFit):
        launch.launch(fake.MODEL, "1", 20001, fake.arm("1"), settings)
    fake.write_version(settings, "1", fake.spec(base="nowhere"))
    with pytest.raises(ClearwayError, match="make llm prepares"):
        launch.launch(fake.MODEL, "1", 20001, fake.arm("1"), settings)
    (paths.ENVIRONMENT / "bin" / "python").unlink()
    with pytest.raises(ClearwayError, match="vLLM is not installed"):
        launch.launch(fake.MODEL, "1", 20001, fake.arm("1"), settings)


def test_a_gpu_server_is_not_held_to_the_machines_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "machine", lambda: "gpu")
    fake.write_version(settings, "1", fake.spec(base="tiny", kv_cache_bytes=1 << 40))
    arguments, environment = become(settings, monkeypatch)
    assert "--gpu-memory-utilization" in arguments
    assert "VLLM_CPU_OMP_THREADS_BIND" not in environment
