"""Plots of a trained version, as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.training.tabular.scores import Array, reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, ACCENT, SECOND = "#1f2933", "#8795a1", "#2f6fde", "#e07b39"


def version_plots(
    labels: Array, probabilities: Array, months: list[dict[str, Any]], importance: dict[str, float]
) -> dict[str, bytes]:
    """Reliability with the histogram of answers, scores by month, and gain importance.

    Args:
        labels, probabilities: of the evaluation window, shape (n,).
        months: as ``scores.by_period`` gives them.
        importance: total gain by input.
    """
    made, axes = figure(1, 3, (13.5, 3.8))
    mean, share, _ = (np.array(x) for x in zip(*reliability(labels, probabilities, 20), strict=True))
    top = max(mean.max(), share.max()) * 1.05
    axes[0].plot([0, top], [0, top], color=MUTED, lw=1, ls="--", label="perfect")
    axes[0].plot(mean, share, "o-", color=ACCENT, ms=4, lw=1.4, label="20 bins of equal count")
    axes[0].set(title="Reliability", xlabel="predicted probability", ylabel="observed share")
    axes[0].legend(frameon=False, fontsize=8)
    names = [m["period"][:7] for m in months]
    axes[1].plot(names, [m["positive_share"] for m in months], "o-", color=MUTED, lw=1.2, ms=4, label="observed share")
    axes[1].plot(names, [m["mean_probability"] for m in months], "o-", color=ACCENT, lw=1.4, ms=4, label="predicted")
    axes[1].plot(names, [m["auc"] for m in months], "s-", color=SECOND, lw=1.4, ms=4, label="AUC")
    axes[1].set(title="By month", ylim=(0, 1))
    axes[1].tick_params(axis="x", rotation=60)
    axes[1].legend(frameon=False, fontsize=8, ncol=2)
    best = sorted(importance.items(), key=lambda x: x[1])[-15:]
    axes[2].barh([n.replace("__", " ").replace("_", " ") for n, _ in best], [v for _, v in best], color=ACCENT)
    axes[2].set(title="Gain by input")
    axes[2].tick_params(axis="y", labelsize=7)
    return {"evaluation": png(made)}


def line(title: str, x: list[str], series: dict[str, list[float | None]], unit: str = "") -> bytes:
    """One line chart over named positions."""
    made, axes = figure(1, 1, (7.5, 2.8))
    for colour, (name, values) in zip((ACCENT, SECOND, MUTED, INK), series.items(), strict=False):
        axes[0].plot(x, [np.nan if v is None else v for v in values], "o-", color=colour, lw=1.6, ms=4, label=name)
    axes[0].set(title=title, ylabel=unit)
    if len(series) > 1:
        axes[0].legend(frameon=False, fontsize=8)
    axes[0].tick_params(axis="x", rotation=45)
    return png(made)


def figure(rows: int, columns: int, size: tuple[float, float], *, sharex: bool = False) -> tuple[Figure, list[Any]]:
    """A figure in the house's style and its axes, row by row; ``size`` in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(made)
    axes = np.atleast_1d(made.subplots(rows, columns, sharex=sharex)).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e4e7eb", lw=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8, colors=INK)
        axis.title.set_fontsize(10)
    return made, axes


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
