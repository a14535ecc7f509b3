"""Whether a version fits the machine: what its server needs, from the files' own headers, against what is free."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

from serving.errors import ClearwayError
from serving.llm.spec import LLMSpec, base_of
from serving.settings import Settings

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
# Interpreter, torch and vLLM in three processes, and a small model's activations: 2.0 GB measured, docs/llm.md.
OVERHEAD = 2 << 30
# What must stay free for everything else on the machine.
RESERVE = 512 << 20
# The largest header that the safetensors format allows.
MAX_HEADER = 100 << 20


class DoesNotFit(ClearwayError):
    """A server would need more memory than is free."""


def tensors(file: Path) -> Iterator[tuple[str, int, int]]:
    """(dtype as stored, number of elements, stored bytes) of each tensor of a safetensors file.

    Raises:
        ClearwayError: the file is no safetensors file.
    """
    for _, dtype, shape, size in _header(file):
        yield dtype, math.prod(shape), size


def shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of each tensor of a safetensors file.

    Raises:
        ClearwayError: the file is no safetensors file.
    """
    for name, _, shape, _ in _header(file):
        yield name, shape


def _header(file: Path) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """(name, dtype, shape, stored bytes)."""
    try:
        with open(file, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(handle.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                yield str(name), str(entry["dtype"]), tuple(map(int, entry["shape"])), end - start
    except (OSError, ValueError, struct.error, KeyError, TypeError) as error:
        raise ClearwayError(f"{file} is no safetensors file: {error}", todo="prepare the model again.") from error


def weight_bytes(folder: Path, dtype: str) -> int:
    """Bytes of a folder's safetensors once loaded: floating tensors in ``dtype``, quantised ones as stored."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        for stored, elements, size in tensors(file):
            floating = stored in ("F64", "F32", "F16", "BF16")
            total += elements * BYTES[dtype] if floating else size
    return total


def memory_needed(spec: LLMSpec, folder: Path, settings: Settings) -> int:
    """Estimate, in bytes, of what a CPU server of a version takes: weights, adapter, cache and the program itself.

    Weights of a base that is still to be downloaded are unknown and count as nothing.

    Raises:
        ClearwayError: the base cannot be found.
    """
    base = Path(base_of(spec, settings, folder))
    weights = weight_bytes(base, spec.dtype) if base.is_absolute() else 0
    adapter = weight_bytes(folder / spec.adapter, spec.dtype) if spec.adapter else 0
    return weights + 2 * adapter + spec.kv_cache_bytes + OVERHEAD


def cache_bytes_per_token(folder: Path, dtype: str) -> int | None:
    """Bytes of keys and values of one token; None when ``config.json`` does not say, as for unusual architectures."""
    try:
        config = json.loads((folder / "config.json").read_text())
        heads = int(config.get("num_key_value_heads") or config["num_attention_heads"])
        width = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
        return 2 * int(config["num_hidden_layers"]) * heads * width * BYTES[dtype]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_unless_it_fits(spec: LLMSpec, folder: Path, settings: Settings, free: int | None = None) -> None:
    """Nothing when the server fits into ``free`` bytes (default: the machine's now) and a context into its cache.

    Raises:
        DoesNotFit: with what is needed and what is free.
    """
    import psutil

    token = cache_bytes_per_token(Path(base_of(spec, settings, folder)), spec.dtype)
    if token is not None and token * spec.max_model_len > spec.kv_cache_bytes:
        raise DoesNotFit(
            f"{spec.model} declares a context of {spec.max_model_len} tokens, whose keys and values take "
            f"{token * spec.max_model_len} bytes, and kv_cache_bytes {spec.kv_cache_bytes}",
            untouched="every running server; nothing was started.",
            todo="register the version with a larger kv_cache_bytes or a smaller max_model_len.",
        )
    available = psutil.virtual_memory().available if free is None else free
    needed = memory_needed(spec, folder, settings)
    if needed + RESERVE > available:
        raise DoesNotFit(
            f"{spec.model} needs about {needed / 1e9:.1f} GB ({spec.kv_cache_bytes / 1e9:.1f} of them cache) and "
            f"{available / 1e9:.1f} GB are free, of which {RESERVE / 1e9:.1f} stay for others",
            untouched="every running server; nothing was started.",
            todo="stop an arm, or register the version with a smaller kv_cache_bytes or a smaller base.",
        )
