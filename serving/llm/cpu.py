"""What a CPU can do that decides how a model may be served on it."""

from __future__ import annotations

import json
from pathlib import Path

from serving.errors import DeclarationError
from serving.llm.spec import LLMSpec, base_of
from serving.settings import Settings

CPUINFO = Path("/proc/cpuinfo")


def has_amx(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the CPU has Intel's matrix tiles, for which vLLM takes kernels of their own. False where nobody tells."""
    try:
        return "amx_tile" in cpuinfo.read_text().split()
    except OSError:
        return False


def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the CPU multiplies matrices of bfloat16 by instructions of its own. False where nobody tells."""
    try:
        return bool({"amx_bf16", "avx512_bf16", "bf16"}.intersection(cpuinfo.read_text().split()))
    except OSError:
        return False


def refuse_int8_in_float32(spec: LLMSpec, folder: Path, settings: Settings, cpuinfo: Path = CPUINFO) -> None:
    """Refuse what vLLM 0.32 accepts and dies of at the first request: its INT8 kernel for AMX takes no float32.

    Raises:
        DeclarationError: the base's weights are INT8, the CPU has AMX, and the version computes in float32.
    """
    config = Path(base_of(spec, settings, folder)) / "config.json"
    if spec.dtype != "float32" or not has_amx(cpuinfo) or not config.is_file():
        return
    groups = json.loads(config.read_text()).get("quantization_config", {}).get("config_groups", {})
    weights = [group.get("weights") or {} for group in groups.values()]
    if any((w.get("num_bits"), w.get("type")) == (8, "int") for w in weights):
        raise DeclarationError(
            f"{spec.model}: field dtype: with INT8 weights this CPU (AMX) computes in bfloat16, found float32.",
            untouched="every running version.",
            todo="register the version with dtype: bfloat16.",
        )
