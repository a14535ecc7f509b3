"""A LoRA adapter on the real vLLM, launched as an arm is: the model's name answers with it, the base is beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from serving.llm.register import register
from tests.serving.llm import adapter, fake, real

pytestmark = real.MARKS
RANK, LARGEST = 16, 32


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Server]:
    """A version whose adapter is of a visible size."""
    folder = tmp_path_factory.mktemp("adapter")
    settings = fake.home(folder)
    trained = adapter.write(folder / "trained", real.BASE, rank=RANK, size=0.05)
    declared = fake.spec(base=str(real.BASE), max_model_len=512, max_lora_rank=LARGEST)
    with real.launched(settings, register(declared, trained, settings=settings, alias=None)) as server:
        yield server


def said(server: real.Server, model: str) -> str:
    """The most likely answer."""
    body = {"model": model, "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 16,
            "temperature": 0}  # fmt: skip
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model
    return str(answer.json()["choices"][0]["message"]["content"])


def test_the_server_has_the_adapter_as_declared(tuned: real.Server) -> None:
    arguments = psutil.Process(tuned.process.pid).cmdline()
    assert "--enable-lora" in arguments
    assert arguments[arguments.index("--max-lora-rank") + 1] == str(LARGEST)
    name, _, folder = arguments[arguments.index("--lora-modules") + 1].partition("=")
    assert (name, Path(folder).name) == (fake.MODEL, "adapter")
    listed = {m["id"]: m for m in httpx.get(f"{tuned.url}/v1/models").json()["data"]}
    assert set(listed) == {fake.MODEL, f"{fake.MODEL}-base"}
    assert listed[fake.MODEL]["parent"] == f"{fake.MODEL}-base"
    # Its metrics tell of the request that showed that it is ready until its engine's next report.
    fake.until("it has nothing left to answer", lambda: real.running_requests(tuned.url) == 0)


def test_the_models_name_answers_with_the_adapter(tuned: real.Server) -> None:
    with_it, without = said(tuned, fake.MODEL), said(tuned, f"{fake.MODEL}-base")
    assert with_it != without
    assert with_it == said(tuned, fake.MODEL)
