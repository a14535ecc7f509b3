"""The tuning of the copilot as a step: what is tuned on, where it lies, how it is started, what it took."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.declared import fingerprint
from assets.training.llm.dataset import Dataset
from assets.training.llm.spec import CopilotDeclaration
from serving.errors import ClearwayError
from serving.llm import paths
from serving.llm.spec import base_of
from serving.semantics.asking import messages
from serving.settings import Settings

CODE_VERSION = "1"
SCRIPT = Path(__file__).with_name("tune.py")


@dataclass(frozen=True)
class Adapter:
    """What a tuning left.

    Attributes:
        path: folder of the adapter, or of the whole model after a full tuning and of a student.
        key: hash of everything that it depends on.
        losses: a dict a step: ``step``, ``loss`` (nats a token of the reply), ``rate``, ``seconds``, ``cpu_seconds``.
        new: False when it was tuned before.
    """

    path: Path
    key: str
    losses: list[dict[str, Any]]
    new: bool

    @property
    def seconds(self) -> float:
        return float(sum(step["seconds"] for step in self.losses))

    @property
    def cpu_seconds(self) -> float:
        return float(sum(step["cpu_seconds"] for step in self.losses))


def tuned(
    declared: CopilotDeclaration,
    pairs: Dataset,
    settings: Settings,
    start: Callable[[list[str], dict[str, str]], None],
    progress: Callable[[str], None],
) -> Adapter:
    """Tune, go on with a tuning that was killed, or find the one that was made of the same.

    A declared student comes after its teacher, which is tuned first where it is not there.

    Args:
        start: runs a command with variables added to its environment until it ends, and raises when it fails.

    Raises:
        ClearwayError: vLLM's environment or the base is not there, or nothing was left although the tuning ended.
    """
    key, done = _place(declared, pairs, settings)
    out = done.parent
    if done.exists():
        progress(f"tuned before: {key}")
        return Adapter(done, key, read_losses(out), False)
    told = declared.tuning.model_dump(mode="json")
    if declared.student is not None:
        teacher = tuned(declared.model_copy(update={"student": None}), pairs, settings, start, progress)
        told |= {**declared.student.model_dump(mode="json"), "method": "distil", "teacher": str(teacher.path)}
    # On a cluster it is the pod's image that has it.
    if settings.profile == "laptop" and not paths.interpreter().exists():
        raise ClearwayError(
            "the environment of language models is not installed, so nothing can be tuned.",
            untouched="every version.",
            todo="make llm, then try again.",
        )
    out.mkdir(parents=True, exist_ok=True)
    rows = out / "pairs.jsonl"
    _write(rows, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in training_rows(pairs.path)))
    base = base_of(declared.spec(), settings)
    told |= {"base": base, "pairs": str(rows), "out": str(out)}
    _write(out / "tuning.json", json.dumps(told, indent=1))
    start([str(paths.interpreter()), str(SCRIPT), str(out / "tuning.json")], environment(base))
    if not done.exists():
        raise ClearwayError(
            f"{done}: the tuning ended and left nothing.",
            untouched="every version; the checkpoints stay.",
            todo="read the step's log, then run it again: it goes on from the newest checkpoint.",
        )
    return Adapter(done, key, read_losses(out), True)


def newest(declared: CopilotDeclaration, pairs: Dataset, settings: Settings) -> Adapter:
    """What was tuned on these pairs by this declaration.

    Raises:
        ClearwayError: nothing was, or it is not finished.
    """
    key, done = _place(declared, pairs, settings)
    if not done.exists():
        raise ClearwayError(
            f"{done}: nothing was tuned on the pairs {pairs.card['key']} by this declaration.",
            untouched="every version.",
            todo="materialize copilot/adapter first.",
        )
    return Adapter(done, key, read_losses(done.parent), False)


def _place(declared: CopilotDeclaration, pairs: Dataset, settings: Settings) -> tuple[str, Path]:
    """(key, folder of the finished weights)."""
    parts = [CODE_VERSION, pairs.card["key"], declared.spec().base, declared.tuning.model_dump(mode="json")]
    if declared.student is not None:
        parts.append(declared.student.model_dump(mode="json"))
    key, name = fingerprint(parts), "model" if declared.whole else "adapter"
    return key, settings.home / "copilot" / "tuned" / key / name


def environment(base: str) -> dict[str, str]:
    """Variables of the tuning: no packages of the project's own environment; no network, but for a base named by id."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if Path(base).is_dir() else {}
    return {"PYTHONPATH": "", "TOKENIZERS_PARALLELISM": "false", **offline}


def training_rows(pairs: Path) -> list[dict[str, Any]]:
    """The pairs to train on, as chats with the reply that is to be learned."""
    rows = []
    for line in pairs.read_text().splitlines():
        pair = json.loads(line)
        if pair["split"] == "train":
            rows.append({"messages": messages(pair["question"], pair["values"]), "completion": pair["reply"]})
    return rows


def read_losses(out: Path) -> list[dict[str, Any]]:
    """Each step once, by number: a tuning that was killed has steps after its last checkpoint twice."""
    found: dict[int, dict[str, Any]] = {}
    file = out / "losses.jsonl"
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            step = json.loads(line)
        except ValueError:  # cut by a crash
            continue
        found[step["step"]] = step
    return [found[number] for number in sorted(found)]


def _write(path: Path, content: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(content)
    os.replace(part, path)
