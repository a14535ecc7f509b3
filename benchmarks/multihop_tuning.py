"""``python -m benchmarks.multihop_tuning``: the ranking index's parameters by repeated cross-validation.

Every point of a grid answers every question once. In each fold the point that does best on the other folds is taken and
answers the fold; so each repetition of the folds gives one share over all questions, none of which had a say in what
answered it. Of points that do equally well the one nearest to the middle of the grid is taken: at its edge a neighbour
is more likely to be bad. The middle is what ``Parameters`` has: of the points within one question of the best it is one
that also serves questions which name nothing and are answered by their words.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID: Mapping[str, tuple[float, ...]] = {
    "title_weight": (2.0, 4.0, 8.0),
    "restart": (0.1, 0.15, 0.25),
    "text_weight": (0.0, 0.05, 0.15),
    "focus": (1.0, 2.0, 5.0),
    "agreement": (0.0, 0.25, 0.5),
}
FOLDS, REPEATS = 5, 20
# How much of recall@5 decides between points with as many perfect questions.
RECALL_SHARE = 0.2


def tuned(folder: str, repeats: int = REPEATS, points: int = 3) -> dict[str, Any]:
    """Chosen parameters, the share of perfect questions held out (one a repetition) and in sample, and by point.

    Args:
        points: so many of each parameter's values, from the first.
    """
    axes = {name: values[:points] for name, values in GRID.items()}
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    grid.sort(
        key=lambda point: sum(abs(axes[name].index(value) - len(axes[name]) // 2) for name, value in point.items())
    )
    perfect, recall = outcomes(Path(folder), grid)
    score = perfect + RECALL_SHARE * recall
    held = held_out(perfect, score, repeats)
    best = int(np.argmax(score.mean(axis=1)))
    shares = perfect.mean(axis=1)
    return {
        "chosen": grid[best],
        "in_sample": float(shares[best]),
        "held_out": held,
        "grid": {"points": len(grid), "worst": float(shares.min()), "median": float(np.median(shares)),
                 "best": float(shares.max())},
        "by_value": {name: {str(value): float(np.mean([s for s, p in zip(shares, grid, strict=True)
                                                       if p[name] == value])) for value in values}
                     for name, values in axes.items()},
    }  # fmt: skip


def outcomes(folder: Path, grid: Sequence[Mapping[str, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whether a question was perfect, and its recall@5; shape (points, questions) each."""
    from benchmarks.multihop import passages, quality, questions, ranked
    from serving.retrieval.ranking.index import METHODS, Index, Parameters

    asked, texts = questions(folder), passages(folder)
    built: dict[float, Index] = {}
    found = np.zeros((2, len(grid), len(asked)))
    for number, point in enumerate(grid):
        title = point["title_weight"]  # the only one that the graph depends on
        if title not in built:
            built[title] = Index.build(texts, parameters=replace(Parameters(), title_weight=title))
        whole = built[title].whole
        index = replace(built[title], whole=replace(whole, parameters=replace(whole.parameters, **point)))  # type: ignore[arg-type]
        each = [quality([q], [titles]) for q, titles in zip(asked, ranked(index, asked, METHODS), strict=True)]
        found[0, number] = [one.perfect for one in each]
        found[1, number] = [one.recall5 for one in each]
    return found[0], found[1]


def held_out(perfect: NDArray[np.float64], score: NDArray[np.float64], repeats: int) -> list[float]:
    """For each repetition, the share of questions that are perfect by the point chosen on the other folds.

    Args:
        perfect, score: shape (points, questions); of points with equal scores the first is chosen.
    """
    shares = []
    for repeat in range(repeats):
        order = list(range(perfect.shape[1]))
        random.Random(repeat).shuffle(order)
        right = 0.0
        for fold in range(FOLDS):
            out = order[fold::FOLDS]
            rest = np.setdiff1d(order, out)
            right += float(perfect[int(np.argmax(score[:, rest].mean(axis=1))), out].sum())
        shares.append(right / len(order))
    return shares


def main() -> int:
    from benchmarks.multihop import FOLDER

    if not (FOLDER / "corpus.json").exists():
        print(f"{FOLDER} has no corpus.json", file=sys.stderr)
        return 1
    found = tuned(str(FOLDER))
    held = np.array(found["held_out"])
    print(json.dumps({key: value for key, value in found.items() if key != "held_out"}, indent=2))
    print(f"held out, {len(held)} x {FOLDS} folds: mean {held.mean():.3f}, from {held.min():.3f} to {held.max():.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
