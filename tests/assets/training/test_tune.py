"""The tuning: what a step sees is known beforehand, and a killed one ends as if it had not been killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.training.llm.adapter import SCRIPT, environment, read_losses
from assets.training.llm.tune import Tuning, batches, newest_checkpoint, rate_at
from serving.llm import paths
from serving.llm.memory import shapes
from serving.semantics.asking import messages
from tests.serving.llm import real

STEPS = 6


@given(st.lists(st.integers(5, 300), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 99))
def test_every_pair_is_seen_once_in_an_epoch(lengths: list[int], size: int, seed: int) -> None:
    count = -(-len(lengths) // size)
    for epoch in range(2):
        steps = [batches(lengths, size, seed, epoch * count + step) for step in range(count)]
        assert sorted(row for step in steps for row in step) == list(range(len(lengths)))
        assert all(0 < len(step) <= size for step in steps)


def test_the_rate_rises_and_falls(tmp_path: Path) -> None:
    tuning = Tuning("base", "pairs", str(tmp_path), steps=100, warmup=10, rate=0.002)
    rates = [rate_at(step, tuning) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(0.002)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def settings_of(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pairs = folder / "pairs.jsonl"
    rows = [
        {"messages": messages(f"how many beans of kind {n}?", "2020-01-01"), "completion": f'{{"n":{n}}}'}
        for n in range(12)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"base": str(real.BASE), "pairs": str(pairs), "out": str(folder), "steps": STEPS, "batch": 2, "warmup": 2,
            "rank": 8, "first_layer": 28, "every": 2, "threads": 1, **changes}  # fmt: skip
    file = folder / "tuning.json"
    file.write_text(json.dumps(told))
    return file


def run(file: Path, crash_at: str | None = None) -> subprocess.CompletedProcess[str]:
    added = {**environment(str(real.BASE)), **({"CLEARWAY_CRASH_AT": crash_at} if crash_at else {})}
    return subprocess.run(
        [str(paths.interpreter()), str(SCRIPT), str(file)],
        env={**os.environ, **added}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def adapter_of(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


class TestReal:
    pytestmark: ClassVar = [*real.MARKS, pytest.mark.faults]

    def test_killed_at_any_checkpoint_it_ends_in_the_same_adapter(self, tmp_path: Path) -> None:
        whole = tmp_path / "whole"
        done = run(settings_of(whole))
        assert done.returncode == 0, done.stderr[-2000:]
        losses = read_losses(whole)
        assert [step["step"] for step in losses] == list(range(1, STEPS + 1))
        assert losses[-1]["loss"] < losses[0]["loss"]
        killed = tmp_path / "killed"
        file = settings_of(killed)
        for checkpoint in (2, 4, 6):
            # It dies before the checkpoint is whole, so the next run starts from the one before and gets past it.
            assert run(file, f"tuning.checkpoint-{checkpoint}").returncode == -signal.SIGKILL
            found = newest_checkpoint(killed, Tuning(**json.loads(file.read_text())).key)
            assert (found[0] if found else 0) == checkpoint - 2
            assert not (killed / "adapter").exists()
        assert run(file).returncode == 0
        assert adapter_of(killed) == adapter_of(whole)
        assert [step["step"] for step in read_losses(killed)] == list(range(1, STEPS + 1))

    def test_a_student_has_half_the_layers_and_learns_from_its_teacher(self, tmp_path: Path) -> None:
        teacher, student = tmp_path / "teacher", tmp_path / "student"
        assert run(settings_of(teacher, steps=2)).returncode == 0
        done = run(settings_of(student, method="distil", teacher=str(teacher / "adapter"), rate=5e-4))
        assert done.returncode == 0, done.stderr[-2000:]
        losses = [step["loss"] for step in read_losses(student)]
        assert losses[-1] < losses[0]
        config, base = (json.loads((folder / "config.json").read_text()) for folder in (student / "model", real.BASE))
        assert 2 * config["num_hidden_layers"] == base["num_hidden_layers"]
        assert (student / "model" / "tokenizer.json").exists()
        layers = {
            name.split(".")[2] for name, _ in shapes(student / "model" / "model.safetensors") if ".layers." in name
        }
        assert layers == {str(number) for number in range(config["num_hidden_layers"])}

    def test_a_pair_that_is_too_long_is_named_and_nothing_is_tuned(self, tmp_path: Path) -> None:
        file = settings_of(tmp_path, max_tokens=10)
        done = run(file)
        assert done.returncode != 0
        assert "pairs.jsonl, line 1" in done.stderr
        assert "nothing was tuned" in done.stderr
        assert not (tmp_path / "adapter").exists()
