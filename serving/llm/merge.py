"""Adds an adapter's weights to those of its base. Runs by path in the environment of `make llm`: BASE ADAPTER OUT.

vLLM's LoRA on a CPU gathers the adapter's matrices for every token, which takes longer than the model itself.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def merge(base: Path, adapter: Path, out: Path) -> None:
    """Leave a whole model in ``out``, or nothing."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    # Added in float32; a base that is stored shorter is so again.
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    stored = AutoModelForCausalLM.from_pretrained(base, dtype="auto").dtype
    whole = PeftModel.from_pretrained(model, adapter).merge_and_unload().to(stored)
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    whole.save_pretrained(part)
    # Tokenizer and templates; the weights and what describes them are its own.
    for file in base.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and not (part / file.name).exists():
            shutil.copyfile(file, part / file.name)
    try:
        os.replace(part, out)
    except OSError:  # another server of the version was first
        shutil.rmtree(part)


if __name__ == "__main__":
    sys.path.pop(0)  # this script's folder, whose modules must not stand in for others
    merge(*map(Path, sys.argv[1:4]))
