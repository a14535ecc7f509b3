"""Whether a LoRA adapter is of the base that a version names: each of its matrices fits a layer of that base."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from serving.errors import ClearwayError
from serving.llm.memory import shapes

ADAPTER_WEIGHTS = "adapter_model.safetensors"
SAMPLE = 1 << 20
PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"


def base_digest(base: Path) -> str:
    """Names, sizes and the first and last MiB of a base's weights, as SHA-256: two tunings of one model differ there.

    Raises:
        OSError: a file cannot be read.
    """
    found = hashlib.sha256()
    for file in sorted(base.glob("*.safetensors")):
        size = file.stat().st_size
        found.update(f"{file.name} {size} ".encode())
        with file.open("rb") as content:
            found.update(content.read(SAMPLE))
            content.seek(max(0, size - SAMPLE))
            found.update(content.read(SAMPLE))
    return found.hexdigest()


def refuse_another(digest: str, adapter: Path, base: Path) -> None:
    """Compare a base's digest with that of the base that an adapter was tuned on; one that is no folder passes.

    Raises:
        ClearwayError: it is another.
    """
    if base.is_dir() and base_digest(base) != digest:
        raise ClearwayError(
            f"{adapter} was tuned on another base than the one in {base}: its weights have the same "
            "shapes, and are others",
            untouched="the registry and every running version.",
            todo="put the base back that it was tuned on, or tune it again on this one.",
        )


def refuse_other_base(adapter: Path, base: Path) -> None:
    """Compare an adapter's weights with those of a base's folder.

    A base that is no folder, or whose weights are packed by a quantisation, cannot be compared and passes.

    Raises:
        ClearwayError: a layer of the adapter is not in the base, or is of another size there; it is named.
    """
    files = sorted(base.glob("*.safetensors"))
    if not files:
        return
    known = {name: shape for file in files for name, shape in shapes(file)}
    pairs = list(shapes(adapter))
    config = base / "config.json"
    if config.exists() and "quantization_config" in json.loads(config.read_text()):
        return
    for name, shape in pairs:
        end = next((e for e in (A, B) if name.endswith(e)), None)
        if end is None:
            continue
        layer = name.removeprefix(PREFIX).removesuffix(end)
        weight = known.get(f"{layer}.weight")
        if weight is not None and len(weight) != 2:
            continue
        # (rank, inputs) and (outputs, rank) beside the layer's (outputs, inputs)
        size = shape[1] if end == A else shape[0]
        if weight is None or size != weight[1 if end == A else 0]:
            has = f"is {weight[0]} x {weight[1]}" if weight else "is not there"
            raise ClearwayError(
                f"{adapter} is no adapter of the base in {base}: {layer} {has} in the base, and the adapter's "
                f"{end.split('.')[1]} is {shape[0]} x {shape[1]}",
                untouched="the registry and every running version.",
                todo="name the base that the adapter was tuned on, or tune it again on this one.",
            )
