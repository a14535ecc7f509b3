"""Turns a GGUF file into a float32-loadable Hugging Face folder. Runs by path under vLLM's environment.

``python convert.py GGUF_FILE FOLDER``: FOLDER must not exist; vLLM does not load these GGUF files itself.
"""

import sys
from pathlib import Path


def convert(gguf: Path, folder: Path) -> None:
    """Write config, tokenizer and bfloat16 safetensors of ``gguf`` to ``folder``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **source)
    # The weights are plain numbers now; what still says otherwise would make a loader dequantise them again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model, "quantization_method"):
        del model.quantization_method
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **source).save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
