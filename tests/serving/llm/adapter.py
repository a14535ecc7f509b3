"""LoRA adapters in peft's format that were never trained: they change nothing, or the answers visibly."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from serving.llm.register import ADAPTER_CONFIG, ADAPTER_WEIGHTS

TARGETS = ("q_proj", "v_proj")


def write(folder: Path, base: Path, *, rank: int = 8, size: float = 0.0, seed: int = 7) -> Path:
    """An adapter of ``base``'s queries and values; of ``size`` 0 its B is zero, as peft's is before training.

    The product of B and A has entries of standard deviation ``size``, beside weights of about a twentieth.
    """
    config = json.loads((base / "config.json").read_text())
    hidden, head = config["hidden_size"], config["head_dim"]
    width = {"q_proj": config["num_attention_heads"] * head, "v_proj": config["num_key_value_heads"] * head}
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        for target in TARGETS:
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            tensors[f"{name}.lora_A.weight"] = random.normal(size=(rank, hidden)).astype("<f4")
            deviation = size / rank**0.5
            tensors[f"{name}.lora_B.weight"] = (deviation * random.normal(size=(width[target], rank))).astype("<f4")
    folder.mkdir(parents=True)
    _save(tensors, folder / ADAPTER_WEIGHTS)
    declared = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(TARGETS),
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(declared, indent=2))
    return folder


def _save(tensors: dict[str, np.ndarray], file: Path) -> None:
    """As safetensors, which the project's own environment does not have."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))
