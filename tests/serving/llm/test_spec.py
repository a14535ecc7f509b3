"""Declarations of language models, the commands made of them, and the refusal of what does not fit."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ClearwayError, DeclarationError
from serving.llm import paths
from serving.llm.cores import take_cores
from serving.llm.memory import (
    OVERHEAD,
    RESERVE,
    DoesNotFit,
    cache_bytes_per_token,
    memory_needed,
    refuse_unless_it_fits,
    tensors,
    weight_bytes,
)
from serving.llm.spec import LLM_FILE, SERVER, LLMSpec, base_of, command, is_llm, read_llm_spec
from serving.settings import PROJECT, Settings


def weights(file: Path, **shapes: tuple[str, list[int], int]) -> None:
    """A safetensors file: (dtype, shape, bytes an element) by name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, width) in shapes.items():
        size = width
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * end)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path)
    weights(paths.models(found) / "tiny" / "model.safetensors", a=("BF16", [10, 100], 2), q=("I8", [500], 1))
    return found


def spec(**changes: Any) -> LLMSpec:
    return LLMSpec.model_validate({"model": "gardener", "base": "tiny", **changes})


def options(arguments: list[str]) -> dict[str, str]:
    """Each option with what follows it."""
    return dict(zip(arguments, [*arguments[1:], ""], strict=True))


def test_a_cpu_server_is_told_everything_that_is_declared(settings: Settings, tmp_path: Path) -> None:
    declared = spec(
        dtype="bfloat16", max_model_len=512, max_num_seqs=3, kv_cache_bytes=1 << 26, cpu_flags=("--seed", "7")
    )
    arguments, environment = command(declared, tmp_path, 1234, "cpu", settings, python=Path("/py"), cores=[1])
    assert arguments[:2] == ["/py", str(SERVER)]
    told = options(arguments)
    wanted = {"--model": str(paths.models(settings) / "tiny"), "--served-model-name": "gardener", "--port": "1234",
              "--host": "127.0.0.1", "--dtype": "bfloat16", "--max-model-len": "512", "--max-num-seqs": "3",
              "--kv-cache-memory-bytes": str(1 << 26), "--seed": "7"}  # fmt: skip
    assert {name: told[name] for name in wanted} == wanted
    assert "--enable-prefix-caching" in arguments
    assert "--enable-lora" not in arguments
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    without = command(spec(prefix_caching=False), tmp_path, 1, "cpu", settings)[0]
    assert "--no-enable-prefix-caching" in without


def test_a_gpu_server_has_its_own_flags(settings: Settings, tmp_path: Path) -> None:
    declared = spec(gpu_dtype="bfloat16", gpu_memory_utilization=0.5, gpu_flags=("--tensor-parallel-size", "2"))
    arguments, environment = command(declared, tmp_path, 1234, "gpu", settings)
    told = options(arguments)
    assert (told["--dtype"], told["--gpu-memory-utilization"], told["--tensor-parallel-size"]) == (
        "bfloat16",
        "0.5",
        "2",
    )
    assert not {"--kv-cache-memory-bytes", "--enforce-eager"} & set(arguments)
    assert not [name for name in environment if name.startswith("VLLM_CPU")]


def test_an_adapter_takes_the_models_name(settings: Settings, tmp_path: Path) -> None:
    arguments, _ = command(spec(adapter="adapter", max_lora_rank=8), tmp_path, 1, "cpu", settings)
    told = options(arguments)
    assert told["--lora-modules"] == f"gardener={tmp_path / 'adapter'}"
    assert (told["--served-model-name"], told["--max-lora-rank"]) == ("gardener-base", "8")


def test_a_base_is_a_folder_a_prepared_model_or_an_id(settings: Settings, tmp_path: Path) -> None:
    assert base_of(spec(base=str(tmp_path)), settings) == str(tmp_path)
    assert base_of(spec(), settings) == str(paths.models(settings) / "tiny")
    assert base_of(spec(base="owner/name"), settings) == "owner/name"
    whole = spec(weights="model")
    assert base_of(whole, settings, tmp_path) == str(tmp_path / "model")
    assert base_of(whole, settings) == str(paths.models(settings) / "tiny"), "what it was made of"
    _, environment = command(spec(base="owner/name"), tmp_path, 1, "gpu", settings)
    assert "HF_HUB_OFFLINE" not in environment
    for unknown in ("huge", "/no/such", "a/b/c"):
        with pytest.raises(ClearwayError, match="make llm"):
            base_of(spec(base=unknown), settings)


def test_what_is_declared_is_read_again_and_checked(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="register the version again"):
        read_llm_spec(tmp_path)
    assert not is_llm(tmp_path)
    (tmp_path / LLM_FILE).write_text(spec(price_prompt=2, price_completion=4).model_dump_json())
    assert is_llm(tmp_path)
    assert read_llm_spec(tmp_path).cost(500_000, 250_000) == 2.0
    (tmp_path / LLM_FILE).write_text('{"model": "gardener", "base": "x", "max_num_seqs": 0, "colour": "red"}')
    with pytest.raises(DeclarationError, match=r"max_num_seqs: .*; colour: "):
        read_llm_spec(tmp_path)


def test_memory_is_counted_from_the_files(settings: Settings, tmp_path: Path) -> None:
    base = paths.models(settings) / "tiny"
    assert list(tensors(base / "model.safetensors")) == [("BF16", 1000, 2000), ("I8", 500, 500)]
    # Floating weights take the server's dtype, quantised ones stay as they are stored.
    assert (weight_bytes(base, "float32"), weight_bytes(base, "bfloat16")) == (4500, 2500)
    plain = memory_needed(spec(), tmp_path, settings)
    assert plain == 4500 + (256 << 20) + OVERHEAD
    assert memory_needed(spec(kv_cache_bytes=1 << 30), tmp_path, settings) - plain == (1 << 30) - (256 << 20)
    weights(tmp_path / "adapter" / "adapter_model.safetensors", a=("F32", [100], 4))
    assert memory_needed(spec(adapter="adapter"), tmp_path, settings) == plain + 800
    refuse_unless_it_fits(spec(), tmp_path, settings, free=plain + RESERVE)
    with pytest.raises(DoesNotFit, match=r"needs about 2\.4 GB") as caught:
        refuse_unless_it_fits(spec(), tmp_path, settings, free=plain + RESERVE - 1)
    assert "nothing was started" in str(caught.value)
    config = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    (base / "config.json").write_text(json.dumps(config))
    assert cache_bytes_per_token(base, "float32") == 2 * 3 * 2 * 8 * 4
    # A cache that holds one whole context is the least that vLLM starts with.
    least = spec(max_model_len=4096, kv_cache_bytes=4096 * 384)
    refuse_unless_it_fits(least, tmp_path, settings, free=1 << 34)
    with pytest.raises(DoesNotFit, match="a context of 4097 tokens"):
        refuse_unless_it_fits(least.model_copy(update={"max_model_len": 4097}), tmp_path, settings, free=1 << 34)
    (base / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ClearwayError, match="no safetensors file"):
        memory_needed(spec(), tmp_path, settings)


def test_a_core_belongs_to_one_process_while_it_lives(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.llm.cores import take_cores;"
        "print(take_cores(1, Path(sys.argv[1]), [4, 5]), flush=True); sys.stdin.read()"
    )

    def holder() -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", code, str(tmp_path)]
        process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def end(process: subprocess.Popen[str]) -> None:
        process.communicate(timeout=20)

    first, core = holder()
    assert core == "[4]"
    second, core = holder()
    assert core == "[5]"
    third, core = holder()  # none is free: the least shared one
    assert core == "[4]"
    fourth, core = holder()
    assert core == "[5]"
    for process in (second, fourth):
        end(process)
    again, core = holder()
    assert core == "[5]"
    for process in (first, third, again):
        end(process)
    assert take_cores(2, tmp_path, [4, 5]) == [4, 5]
    assert take_cores(3, tmp_path / "other", [0]) == [0]
