"""An adapter is added to its base's weights, once, and the result is a model of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.llm.memory import shapes
from serving.llm.merged import KEPT, merged
from serving.settings import Settings
from tests.serving.llm import adapter, fake, real

pytestmark = real.MARKS


def test_the_sum_of_base_and_adapter_is_kept_and_an_old_one_is_not(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    for number, size in enumerate((0.05, 0.1)):
        adapter.write(tmp_path / f"v{number}" / "adapter", real.BASE, rank=8, size=size)
    old = [settings.home / "llm" / "merged" / f"old-{n}" for n in range(KEPT)]
    for folder in old:
        folder.mkdir(parents=True)
    spec = fake.spec(base=str(real.BASE), adapter="adapter", merge_on_cpu=True)
    whole = merged(spec, tmp_path / "v0", settings)
    assert whole.adapter is None
    made = Path(str(whole.weights))
    assert dict(shapes(made / "model.safetensors")) == dict(shapes(real.BASE / "model.safetensors"))
    assert (made / "model.safetensors").read_bytes() != (real.BASE / "model.safetensors").read_bytes()
    assert json.loads((made / "config.json").read_text())["model_type"] == "llama"
    assert (made / "tokenizer.json").exists()
    before = (made / "model.safetensors").stat().st_mtime_ns
    assert merged(spec, tmp_path / "v0", settings) == whole
    assert (made / "model.safetensors").stat().st_mtime_ns == before
    assert merged(spec, tmp_path / "v1", settings).weights != whole.weights
    assert len(list(made.parent.iterdir())) == KEPT
    (tmp_path / "v1" / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "v1" / "adapter" / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ClearwayError, match="could not be added"):
        merged(spec, tmp_path / "v1", settings)
