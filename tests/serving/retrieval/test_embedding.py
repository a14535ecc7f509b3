"""The embedding models, offline: like texts are near, whatever their language."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from serving.retrieval.embedding import DIMENSION, MAX_TOKENS, count_tokens, embedder

TEXTS = ["the engine failed at take-off", "a library lends books", "엔진이 이륙 중에 고장 났다"]


@pytest.mark.parametrize("profile", ["english", "multilingual"])
def test_vectors_are_of_length_one_and_tell_meanings_apart(profile: str) -> None:
    model = embedder(profile)  # type: ignore[arg-type]
    vectors = model.passages(TEXTS)
    assert vectors.shape == (3, DIMENSION)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    near = vectors @ model.questions(["motor trouble of a machine"])[0]
    assert near[0] > near[1]


def test_the_multilingual_profile_reads_korean() -> None:
    model = embedder("multilingual")
    near = model.passages(TEXTS) @ model.questions(["이륙할 때 엔진 고장"])[0]
    assert near[2] > near[1]


def test_a_vector_does_not_depend_on_its_batch_nor_on_other_threads() -> None:
    model = embedder("english")
    alone = model.passages([TEXTS[0]])[0]
    found: list[np.ndarray] = []
    crowd = [TEXTS[0], "x " * 200, *TEXTS]
    threads = [threading.Thread(target=lambda: found.append(model.passages(crowd)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(float(alone @ other) > 0.98 for other in found)


def test_empty_and_long_texts_have_vectors() -> None:
    vectors = embedder("english").passages(["", "word " * 5000])
    assert np.isfinite(vectors).all()
    assert count_tokens("word " * 5000) > MAX_TOKENS
