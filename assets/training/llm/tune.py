"""Tunes a LoRA adapter on pairs of prompt and completion. Runs by path in the environment of `make llm`.

What it is told is one JSON file (:class:`Tuning`); what it leaves is a folder: checkpoints, ``losses.jsonl`` and, when
it has come to its end, ``adapter`` (peft's format) or ``model``. The batch of a step depends on seed and step only, and
a checkpoint holds weights, optimizer and step, so that a run that was killed goes on as if it had not been.

LoRA: Hu et al., ICLR 2022. The layers below ``first_layer`` stay as they are, so that no gradient passes through them.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

IGNORED = -100  # positions that have no loss


@dataclass(frozen=True)
class Tuning:
    """Settings of a tuning.

    Attributes:
        base: folder of the base model.
        pairs: file of JSON lines with ``messages`` (a chat, as it will be asked) and ``completion``.
        method: ``lora`` tunes an adapter, ``full`` all weights; ``distil`` a student of half the layers, which learns
            from what the teacher, the base with the adapter ``teacher``, gives every token.
        out: folder for what is made.
        first_layer: LoRA in this layer and all above; 0 for all.
        batch: sequences of a step.
        rate: the highest learning rate; it rises over ``warmup`` steps and falls as a half cosine.
        every: steps from one checkpoint to the next.
        dtype: of the products of matrices. ``auto``: bfloat16 where the machine is made for it. What is tuned stays
            float32.
    """

    base: str
    pairs: str
    out: str
    method: str = "lora"
    teacher: str | None = None
    steps: int = 200
    batch: int = 8
    rate: float = 1e-3
    warmup: int = 10
    rank: int = 16
    first_layer: int = 0
    max_tokens: int = 320
    every: int = 25
    seed: int = 7
    threads: int = 2
    dtype: str = "auto"

    @property
    def key(self) -> str:
        """Hash of everything that the adapter depends on, the pairs' content included."""
        parts = {k: v for k, v in asdict(self).items() if k not in ("out", "pairs", "threads", "every")}
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        digest.update(Path(self.pairs).read_bytes())
        return digest.hexdigest()[:16]


def batches(lengths: Sequence[int], size: int, seed: int, step: int) -> list[int]:
    """Rows of a step: of sequences of like lengths, every one once in an epoch, in an order that the seed gives."""
    count = math.ceil(len(lengths) / size)
    epoch, position = divmod(step, count)
    chance = random.Random(f"{seed}-{epoch}")
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row] + chance.uniform(-8, 8), row))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    chance.shuffle(groups)
    return groups[position]


def rate_at(step: int, tuning: Tuning) -> float:
    """Learning rate of a step."""
    if step < tuning.warmup:
        return tuning.rate * (step + 1) / tuning.warmup
    done = (step - tuning.warmup) / max(1, tuning.steps - tuning.warmup)
    return tuning.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def newest_checkpoint(out: Path, key: str) -> tuple[int, Path] | None:
    """(step, folder) of the newest whole checkpoint of these settings."""
    found = []
    for folder in out.glob("checkpoint-*"):
        with contextlib.suppress(OSError, ValueError):
            state = json.loads((folder / "state.json").read_text())
            if state["key"] == key:
                found.append((int(state["step"]), folder))
    return max(found, default=None)


def tune(tuning: Tuning, told: Callable[[dict[str, Any]], None]) -> Path:
    """Tune, or go on from the newest checkpoint; returns the adapter's folder.

    Args:
        told: is given each step's ``step``, ``loss`` (nats a token of the completion), ``rate``, ``seconds`` and
            ``cpu_seconds``.
    """
    import torch
    from peft import set_peft_model_state_dict
    from peft.helpers import disable_input_dtype_casting
    from transformers import AutoTokenizer

    torch.set_num_threads(tuning.threads)
    torch.manual_seed(tuning.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = Path(tuning.out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tuning.base)
    rows = _tokens(tokenizer, Path(tuning.pairs), tuning.max_tokens)
    model, teacher = _models(tuning, device)
    lora, short = tuning.method == "lora", _in_bfloat16(tuning.dtype, device)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=tuning.rate, weight_decay=0.0)
    key, begun = tuning.key, 0
    if (found := newest_checkpoint(out, key)) is not None:
        begun, folder = found
        state = torch.load(folder / "state.pt", weights_only=True, map_location=device)
        if lora:
            set_peft_model_state_dict(model, state["weights"])
        else:
            model.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
    lengths = [len(row[0]) for row in rows]
    model.train()
    for step in range(begun, tuning.steps):
        started, cpu = time.perf_counter(), time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, tuning)
        chosen = [rows[i] for i in batches(lengths, tuning.batch, tuning.seed, step)]
        batch = _padded(chosen, tokenizer.pad_token_id or 0)
        # Autocast casts what an adapter is given; that peft does it before, to float32, costs a fifth of the step.
        with disable_input_dtype_casting(model, short), torch.autocast(device, torch.bfloat16, enabled=short):
            loss = _loss(model, teacher, {name: each.to(device) for name, each in batch.items()})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        told({"step": step + 1, "loss": float(loss.detach()), "rate": rate_at(step, tuning),
              "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu})  # fmt: skip
        if (step + 1) % tuning.every == 0 or step + 1 == tuning.steps:
            _keep(out, step + 1, key, model, optimizer)
    done = out / ("adapter" if lora else "model")
    part = out / f"{done.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    if not lora:
        tokenizer.save_pretrained(part)
    shutil.rmtree(done, ignore_errors=True)
    os.replace(part, done)
    return done


def _in_bfloat16(dtype: str, device: str) -> bool:
    """Without matrix tiles (AMX) a CPU is several times slower in bfloat16."""
    if dtype != "auto":
        return dtype == "bfloat16"
    if device == "cuda":
        return True
    with contextlib.suppress(OSError):
        return "amx_tile" in Path("/proc/cpuinfo").read_text().split()
    return False


def _models(tuning: Tuning, device: str) -> tuple[Any, Any]:
    """(what is tuned, its teacher or None)."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    # What an adapter leaves as it is needs no more digits than the products have.
    frozen = tuning.method == "lora" and _in_bfloat16(tuning.dtype, device)
    dtype = torch.bfloat16 if frozen else torch.float32
    # In bfloat16 the gradient of the fused attention takes a CPU three times as long as that of its parts.
    attention = "eager" if frozen and device == "cpu" else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(tuning.base, dtype=dtype, attn_implementation=attention).to(device)
    if tuning.method == "full":
        return model, None
    if tuning.method == "distil":
        teacher = PeftModel.from_pretrained(model, tuning.teacher).merge_and_unload().eval().requires_grad_(False)
        student = copy.deepcopy(teacher).requires_grad_(True)
        # Every second layer of the teacher, the last among them (Sanh et al., DistilBERT, 2019).
        kept = list(student.model.layers)[1::2]
        for number, layer in enumerate(kept):
            layer.self_attn.layer_idx = number
        student.model.layers = torch.nn.ModuleList(kept)
        student.config.num_hidden_layers = len(kept)
        if getattr(student.config, "layer_types", None):
            student.config.layer_types = student.config.layer_types[: len(kept)]
        student.get_input_embeddings().requires_grad_(False)  # tied to the output's, and as the teacher has them
        return student, teacher
    layers = range(tuning.first_layer, model.config.num_hidden_layers)
    lora = LoraConfig(
        r=tuning.rank,
        lora_alpha=2 * tuning.rank,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        layers_to_transform=list(layers),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora), None


def _loss(model: Any, teacher: Any, batch: dict[str, Any]) -> Any:
    """Cross entropy of the completion; of a student also its distance (KL) from the teacher, in nats a token."""
    import torch

    labels = batch.pop("labels")[:, 1:]
    asked = labels != IGNORED
    mine = _logits(model, batch, asked)
    loss = torch.nn.functional.cross_entropy(mine, labels[asked])
    if teacher is None:
        return loss
    with torch.no_grad():
        theirs = _logits(teacher, batch, asked)
    return loss + torch.nn.functional.kl_div(
        mine.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="batchmean"
    )


def _logits(model: Any, batch: dict[str, Any], asked: Any) -> Any:
    """Of the next token, at ``asked`` positions only: those of a prompt cost a third of a step and have no loss."""
    whole = model.get_base_model() if hasattr(model, "peft_config") else model
    hidden = whole.get_decoder()(**batch).last_hidden_state
    return whole.get_output_embeddings()(hidden[:, :-1][asked]).float()


def _tokens(tokenizer: Any, file: Path, most: int) -> list[tuple[list[int], int]]:
    """(token ids, length of the prompt) of each pair; one that is longer than ``most`` is refused."""
    rows = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        pair = json.loads(line)
        text = tokenizer.apply_chat_template(pair["messages"], tokenize=False, add_generation_prompt=True)
        prompt = tokenizer.encode(text, add_special_tokens=False)
        ids = prompt + tokenizer.encode(pair["completion"], add_special_tokens=False) + [tokenizer.eos_token_id]
        if len(ids) > most:
            raise SystemExit(
                f"{file}, line {number}: {len(ids)} tokens, at most {most} are declared; nothing was tuned."
            )
        rows.append((ids, len(prompt)))
    return rows


def _padded(rows: Sequence[tuple[list[int], int]], pad: int) -> dict[str, Any]:
    import torch

    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, (row, prompt) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, prompt : len(row)] = torch.tensor(row[prompt:])
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def _keep(out: Path, step: int, key: str, model: Any, optimizer: Any) -> None:
    """Write a checkpoint whole or not at all, and remove all but the newest two."""
    import torch
    from peft import get_peft_model_state_dict

    part = out / "checkpoint.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    weights = get_peft_model_state_dict(model) if hasattr(model, "peft_config") else model.state_dict()
    torch.save({"weights": weights, "optimizer": optimizer.state_dict()}, part / "state.pt")
    (part / "state.json").write_text(json.dumps({"step": step, "key": key}))
    if os.environ.get("CLEARWAY_CRASH_AT") == f"tuning.checkpoint-{step}":
        os.kill(os.getpid(), signal.SIGKILL)
    folder = out / f"checkpoint-{step:06}"
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    for old in sorted(out.glob("checkpoint-0*"))[:-2]:
        shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    sys.path.pop(0)  # this script's folder, whose modules must not stand in for others
    tuning = Tuning(**json.loads(Path(sys.argv[1]).read_text()))
    out = Path(tuning.out)
    out.mkdir(parents=True, exist_ok=True)
    with _reporting() as say, (out / "losses.jsonl").open("a") as losses:

        def told(step: dict[str, Any]) -> None:
            losses.write(json.dumps(step) + "\n")
            losses.flush()
            if step["step"] % 10 == 0:
                say(f"step {step['step']} of {tuning.steps}: loss {step['loss']:.4f}, {step['seconds']:.1f} s")

        tune(tuning, told)


@contextlib.contextmanager
def _reporting() -> Iterator[Callable[[str], None]]:
    """Lines for who started this: by Dagster Pipes where a run did, printed where a person did."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ or find_spec("dagster_pipes") is None:
        # A person started it, or the environment was made before it had the package.
        yield lambda line: print(line, flush=True)
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield pipes.log.info


if __name__ == "__main__":
    main()
