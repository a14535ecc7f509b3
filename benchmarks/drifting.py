"""Streams of labelled rows whose change is known, by river's generators, and what a model trained before loses on them.

A day has the same number of rows. One to two years in which nothing changes, by the seed, are followed by a year of the
new concept, all at once or over some weeks: a detector that remembers is not met at one moment of its memory only. Of
the labels 10% are flipped, so that the best model errs as well; where weeks are alike, the share differs from week to
week between 0 and 20%, as one cause makes many rows of a week hard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["number", "category"]
ROWS_A_DAY, YEAR, TRAINED = 80, 365, 5_000
FLIPPED = 0.1
CATEGORIES: dict[str, tuple[int, ...]] = {"Agrawal": (3, 4, 5), "STAGGER": (0, 1, 2)}


@dataclass(frozen=True)
class Scene:
    """A kind of stream.

    Attributes:
        generator: of river: SEA (Street and Kim, KDD 2001), Agrawal (Agrawal et al., TKDE 1993), STAGGER (Schlimmer and
            Granger, 1986), Hyperplane (Hulten et al., KDD 2001), RandomRBF.
        over_days: days that the change takes; 0 for at once.
        weeks: the rows of a week are alike.
        harm: whether the model is worse after the change; without it only its inputs are others.
    """

    name: str
    generator: str
    over_days: int = 0
    weeks: bool = False
    harm: bool = True


SCENES = (
    Scene("SEA", "SEA"),
    Scene("SEA over 60 days", "SEA", over_days=60),
    Scene("SEA, weeks alike", "SEA", weeks=True),
    Scene("Agrawal, small", "Agrawal"),
    Scene("STAGGER", "STAGGER"),
    Scene("Hyperplane over 60 days", "Hyperplane", over_days=60),
    Scene("RandomRBF, inputs too", "RandomRBF"),
    Scene("SEA, inputs only", "SEA inputs", harm=False),
)


@dataclass(frozen=True)
class Live:
    """What a deployed model meets.

    Attributes:
        rows: inputs, shape (days, rows a day, inputs).
        kinds: of each input.
        loss: squared error of the probability (Brier), 0 to 1, shape (days, rows a day).
        seen: inputs that the model was trained on, shape (rows, inputs).
        expected: mean loss on rows between training and the first day.
        change: the first day of the change.
    """

    rows: Array
    kinds: tuple[Kind, ...]
    loss: Array
    seen: Array
    expected: float
    change: int

    @property
    def daily(self) -> Array:
        """Mean loss of each day, shape (days,)."""
        return np.asarray(self.loss.mean(axis=1))


def live(scene: Scene, seed: int, before: int = 0, after: int = YEAR, rows_a_day: int = ROWS_A_DAY) -> Live:
    """Train on the stream's first rows, expect what is lost on the next as many, then go through its days.

    Args:
        before: days before the change; 0 for one to two years, by the seed.
    """
    before = before or YEAR + 97 * seed % YEAR
    count = (before + after) * rows_a_day
    # A sigmoid's middle: at the first day of a gradual change 2% of the rows are of the new concept.
    middle = 2 * TRAINED + before * rows_a_day + scene.over_days * rows_a_day
    x, y = _take(_stream(scene, seed, middle, scene.over_days * rows_a_day), 2 * TRAINED + count)
    rng = np.random.default_rng([seed, 1])
    days = np.arange(before + after)
    share = np.full(len(days), FLIPPED)
    if scene.weeks:  # which begin on any day of the alarm's blocks
        share = rng.uniform(0, 2 * FLIPPED, len(days) // 7 + 2)[(days + seed % 7) // 7]
    flipped = rng.random(len(y)) < np.concatenate([np.full(2 * TRAINED, FLIPPED), np.repeat(share, rows_a_day)])
    y = np.where(flipped, 1 - y, y)
    categories = CATEGORIES.get(scene.generator, ())
    probability = _fitted(x[:TRAINED], y[:TRAINED], categories, x[TRAINED:])
    loss = (probability - y[TRAINED:]) ** 2
    return Live(
        x[2 * TRAINED :].reshape(len(days), rows_a_day, -1),
        tuple("category" if i in categories else "number" for i in range(x.shape[1])),
        loss[TRAINED:].reshape(len(days), rows_a_day),
        x[:TRAINED],
        float(loss[:TRAINED].mean()),
        before,
    )


def _fitted(x: Array, y: Array, categories: tuple[int, ...], later: Array) -> Array:
    """Probabilities for later rows by a small LightGBM."""
    import lightgbm

    parameters = {
        "objective": "binary", "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 50, "num_threads": 1,
        "verbosity": -1, "seed": 7,
    }  # fmt: skip
    data = lightgbm.Dataset(x, y, categorical_feature=list(categories))
    return np.asarray(lightgbm.train(parameters, data, 60).predict(later, num_threads=1), dtype=np.float64)


def _take(stream: Any, count: int) -> tuple[Array, Array]:
    pairs = list(itertools.islice(iter(stream), count))
    x = np.array([list(row.values()) for row, _ in pairs], dtype=np.float64)
    return x, np.array([float(label) for _, label in pairs])


def _stream(scene: Scene, seed: int, position: int, width: int) -> Any:
    """From one concept to another after ``position`` rows; over ``width`` of them by river's ConceptDriftStream."""
    from river.datasets import synth

    class OtherInputs(synth.SEA):
        """Rows whose first input is below the third, which is irrelevant: two of three inputs move, the rule stays."""

        def __iter__(self) -> Iterator[Any]:
            return (pair for pair in super().__iter__() if pair[0][0] < pair[0][2])

    one, two = 2 * seed, 2 * seed + 1
    before, after = {
        "SEA": lambda: (synth.SEA(variant=0, seed=one), synth.SEA(variant=3, seed=two)),
        "SEA inputs": lambda: (synth.SEA(variant=0, seed=one), OtherInputs(variant=0, seed=two)),
        "Agrawal": lambda: tuple(
            synth.Agrawal(classification_function=function, seed=s) for function, s in ((6, one), (8, two))
        ),
        "STAGGER": lambda: tuple(
            synth.STAGGER(classification_function=function, seed=s) for function, s in ((1, one), (2, two))
        ),
        "Hyperplane": lambda: tuple(synth.Hyperplane(seed=s, noise_percentage=0.0) for s in (one, two)),
        "RandomRBF": lambda: tuple(synth.RandomRBF(seed_model=s, seed_sample=s) for s in (one, two)),
    }[scene.generator]()
    if not width:  # river's sigmoid overflows far before a change at once
        return itertools.chain(itertools.islice(iter(before), position), after)
    return synth.ConceptDriftStream(before, after, position=position, width=width, seed=seed)
