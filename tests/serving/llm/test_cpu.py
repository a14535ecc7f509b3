"""What a CPU cannot compute is refused before a server is started, by field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.errors import DeclarationError
from serving.llm.cpu import has_amx, has_bfloat16, refuse_int8_in_float32
from serving.llm.quantise import scheme
from serving.llm.spec import LLMSpec
from serving.settings import Settings


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"quantization_config": scheme()}))
    (tmp_path / "amx").write_text("flags : fpu avx512f amx_bf16 amx_tile amx_int8\n")
    (tmp_path / "old").write_text("flags : fpu avx2\n")
    return folder


def check(base: Path, cpu: str, dtype: str = "float32") -> None:
    spec = LLMSpec(model="talk", base=str(base), dtype=dtype)  # type: ignore[arg-type]
    refuse_int8_in_float32(spec, base.parent, Settings(home=base.parent), base.parent / cpu)


def test_int8_in_float32_is_refused_where_the_cpu_has_amx(base: Path) -> None:
    assert has_amx(base.parent / "amx")
    assert not has_amx(base.parent / "old")
    assert not has_amx(base.parent / "none")
    assert [has_bfloat16(base.parent / cpu) for cpu in ("amx", "old", "none")] == [True, False, False]
    with pytest.raises(DeclarationError, match="field dtype: with INT8 weights this CPU"):
        check(base, "amx")
    check(base, "amx", dtype="bfloat16")
    check(base, "old")
    (base / "config.json").write_text("{}")
    check(base, "amx")
