"""A language model's version in the registry that all models share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.llm.fits import base_digest, refuse_another, refuse_other_base
from serving.llm.register import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_rank, read_declared, register, write_artifact
from serving.llm.spec import read_llm_spec
from serving.models.registry import alias_version, resolve, versions
from serving.settings import Settings
from tests.serving.llm.fake import spec
from tests.serving.llm.test_spec import weights


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    weights(folder / ADAPTER_WEIGHTS, a=("F32", [4, 8], 4))
    (folder / ADAPTER_CONFIG).write_text(json.dumps({"r": 8, "peft_type": "LORA"}))
    (folder / "optimizer.pt").write_text("not wanted")
    return folder


@pytest.mark.integration
def test_a_version_is_found_again_with_its_adapter(tmp_path: Path, adapter: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    plain = register(spec(), settings=settings, alias=None)
    tuned = register(spec(metadata={"snapshots": {"beds": "s-1"}}), adapter, settings=settings, tags={"key": "k-1"})
    assert (plain, tuned) == ("1", "2")
    folder = resolve("gardener", tuned, settings)
    found = read_llm_spec(folder)
    assert (found.adapter, found.metadata) == ("adapter", {"snapshots": {"beds": "s-1"}})
    assert sorted(p.name for p in (folder / "adapter").iterdir()) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    assert read_llm_spec(resolve("gardener", plain, settings)).adapter is None
    assert alias_version("gardener", "challenger", settings) == "2"
    newest = versions("gardener", settings)[0]
    assert (newest.tags["clearway.kind"], newest.tags["key"]) == ("llm", "k-1")


def test_an_adapter_is_checked_before_anything_is_registered(tmp_path: Path, adapter: Path) -> None:
    assert adapter_rank(adapter) == 8
    (adapter / ADAPTER_CONFIG).write_text(json.dumps({"r": 32}))
    with pytest.raises(ClearwayError, match="rank 32, gardener declares max_lora_rank 16"):
        write_artifact(spec(), tmp_path / "made", adapter)
    (adapter / ADAPTER_WEIGHTS).write_bytes(b"torn")
    with pytest.raises(ClearwayError, match="no safetensors file"):
        adapter_rank(adapter)
    (adapter / ADAPTER_CONFIG).unlink()
    with pytest.raises(ClearwayError, match="no LoRA adapter"):
        adapter_rank(adapter)
    with pytest.raises(ClearwayError, match="make llm"):
        register(spec(base="nowhere"), settings=Settings(home=tmp_path / "home"))
    assert not (tmp_path / "home" / "mlflow").exists()


def test_an_adapter_of_another_base_is_named_with_the_layer(tmp_path: Path) -> None:
    base, layer = tmp_path / "base", "model.layers.0.self_attn.q_proj"
    weights(base / "model.safetensors", **{f"{layer}.weight": ("F32", [12, 8], 4)})
    for number, (inputs, outputs, name) in enumerate(
        [(8, 12, layer), (16, 12, layer), (8, 24, layer), (8, 12, "other")]
    ):
        folder = tmp_path / f"adapter{number}"
        both = {f"base_model.model.{name}.lora_A.weight": ("F32", [4, inputs], 4),
                f"base_model.model.{name}.lora_B.weight": ("F32", [outputs, 4], 4)}  # fmt: skip
        weights(folder / ADAPTER_WEIGHTS, **both)
        (folder / ADAPTER_CONFIG).write_text(json.dumps({"r": 4}))
        if number == 0:
            refuse_other_base(folder / ADAPTER_WEIGHTS, base)
            continue
        with pytest.raises(ClearwayError, match=f"no adapter of the base.*{name}"):
            register(spec(base=str(base)), folder, settings=Settings(home=tmp_path / "home"))
    assert not (tmp_path / "home" / "mlflow").exists()


def test_a_base_of_the_same_shape_and_other_weights_is_another_base(tmp_path: Path, adapter: Path) -> None:
    base, settings = tmp_path / "base", Settings(home=tmp_path / "home")
    layer = "model.layers.0.self_attn.q_proj.weight"
    weights(base / "model.safetensors", **{layer: ("F32", [12, 8], 4)})
    version = register(spec(base=str(base)), adapter, settings=settings)
    found = read_llm_spec(resolve("gardener", version, settings))
    assert found.base_digest == base_digest(base)
    refuse_another(str(found.base_digest), adapter, base)
    content = bytearray((base / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (base / "model.safetensors").write_bytes(content)
    with pytest.raises(ClearwayError, match="was tuned on another base"):
        refuse_another(str(found.base_digest), adapter, base)
    refuse_another(str(found.base_digest), adapter, Path("owner/name"))


def test_a_declared_file_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "gardener.yaml"
    file.write_text("model: gardener\nbase: owner/name\nmax_num_seqs: 4\n")
    assert read_declared(file).max_num_seqs == 4
    file.write_text("model: gardener\nbase: owner/name\ncores: none\n")
    with pytest.raises(ClearwayError, match=r"gardener\.yaml: cores: "):
        read_declared(file)
    with pytest.raises(ClearwayError, match=r"missing\.yaml"):
        read_declared(tmp_path / "missing.yaml")
