"""Stores a model's linear layers as INT8, for less memory. Runs by path under vLLM's environment.

``python quantise.py BASE FOLDER``: W8A8 in the compressed-tensors format, which vLLM reads by itself: weights symmetric
with one scale an output channel (round to nearest, no calibration data), activations quantised a token at run time.
Embeddings, norms and the output layer stay as they are.
"""

import json
import shutil
import sys
from pathlib import Path

SUFFIX = "_proj.weight"


def scheme() -> dict:
    """The ``quantization_config`` of config.json."""
    common = {"num_bits": 8, "type": "int", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**common, "strategy": "channel", "dynamic": False},
        "input_activations": {**common, "strategy": "token", "dynamic": True},
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


def quantise(base: Path, folder: Path) -> None:
    """Write ``base`` to ``folder``, which must not exist, with its projections as INT8."""
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    for source in base.iterdir():
        if source.is_file() and source.suffix != ".safetensors":
            shutil.copyfile(source, folder / source.name)
    for source in sorted(base.glob("*.safetensors")):
        tensors = {}
        for name, weight in load_file(source).items():
            if not name.endswith(SUFFIX):
                tensors[name] = weight
                continue
            scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            tensors[name] = (weight.float() / scale).round().clamp(-127, 127).to(torch.int8)
            tensors[f"{name}_scale"] = scale.to(weight.dtype)
        save_file(tensors, folder / source.name, metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = scheme()
    (folder / "config.json").write_text(json.dumps(config, indent=2))


if __name__ == "__main__":
    quantise(Path(sys.argv[1]), Path(sys.argv[2]))
