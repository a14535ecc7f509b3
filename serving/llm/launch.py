"""Becomes one arm's server: ``python -m serving.llm.launch --model NAME --version N --port P [--arm ARM]``.

Finds the registry version, sees that it fits the machine's memory, takes a core, and becomes vLLM (exec): the signals
that its supervisor sends reach vLLM, which ends running requests before it goes.
"""

from __future__ import annotations

import argparse
import ctypes.util
import logging
import os
from pathlib import Path
from typing import NoReturn

from serving.errors import ClearwayError
from serving.llm import paths
from serving.llm.cores import take_cores
from serving.llm.cpu import has_bfloat16, refuse_int8_in_float32
from serving.llm.fits import ADAPTER_WEIGHTS, refuse_another, refuse_other_base
from serving.llm.install import machine
from serving.llm.memory import refuse_unless_it_fits
from serving.llm.merged import merged
from serving.llm.spec import LLMSpec, Profile, base_of, command, read_llm_spec
from serving.models.registry import resolve_in_child
from serving.settings import Settings, get_settings

log = logging.getLogger(__name__)


def preloads(environment: Path = paths.ENVIRONMENT) -> list[str]:
    """Libraries to load first on CPU: Intel's OpenMP of the environment, and tcmalloc where the machine has it."""
    openmp = sorted(environment.glob("lib/libiomp5.so")) or sorted(environment.glob("lib/python*/**/libiomp5.so"))
    names = (ctypes.util.find_library(name) for name in ("tcmalloc_minimal", "tcmalloc"))
    return [*[name for name in names if name][:1], *map(str, openmp[:1])]


def prepare(
    spec: LLMSpec, folder: Path, port: int, settings: Settings, profile: Profile
) -> tuple[list[str], dict[str, str]]:
    """(arguments, whole environment) of the server, its memory checked and its cores taken.

    Raises:
        ClearwayError: vLLM is not installed, the base is missing, it does not fit, or the adapter is of another base,
            or cannot be added to it.
    """
    if not (paths.ENVIRONMENT / "bin" / "python").exists():
        raise ClearwayError("vLLM is not installed", untouched="every running version.", todo="make llm")
    if spec.adapter:
        adapter, base = folder / spec.adapter / ADAPTER_WEIGHTS, Path(base_of(spec, settings))
        refuse_other_base(adapter, base)
        if spec.base_digest:
            refuse_another(spec.base_digest, adapter, base)
    inherited = dict(os.environ)
    if profile == "cpu":
        if spec.dtype == "auto":
            spec = spec.model_copy(update={"dtype": "bfloat16" if has_bfloat16() else "float32"})
        if spec.adapter and spec.merge_on_cpu:
            spec = merged(spec, folder, settings)
        refuse_int8_in_float32(spec, folder, settings)
        refuse_unless_it_fits(spec, folder, settings)
        cores = take_cores(spec.cores, settings.home / "llm" / "cores")
        arguments, own = command(spec, folder, port, profile, settings, cores=cores)
        first = [*preloads(), *filter(None, [inherited.get("LD_PRELOAD")])]
        own |= {"LD_PRELOAD": ":".join(first)} if first else {}
    else:
        arguments, own = command(spec, folder, port, profile, settings)
    # The project's own packages must not shadow vLLM's.
    inherited.pop("PYTHONPATH", None)
    return arguments, {**inherited, **own}


def launch(model: str, version: str, port: int, arm: str, settings: Settings) -> NoReturn:
    """Become the server. Raises ClearwayError while it can still say why not."""
    folder = resolve_in_child(model, version, settings)
    spec = read_llm_spec(folder)
    if spec.model != model:
        raise ClearwayError(f"version {version} of {model} says it is model {spec.model!r}")
    profile: Profile = "gpu" if machine() == "gpu" else "cpu"
    arguments, environment = prepare(spec, folder, port, settings, profile)
    bound = environment.get("VLLM_CPU_OMP_THREADS_BIND", "any")
    log.info("arm %s: version %s on port %d, core %s", arm, version, port, bound)
    os.execve(arguments[0], arguments, environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--arm")
    parser.add_argument("--replica", type=int, default=0, help="which of the arm's servers, from 0")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    arm = options.arm or f"{options.model}-v{options.version}"
    try:
        launch(options.model, options.version, options.port, arm, get_settings())
    except ClearwayError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
