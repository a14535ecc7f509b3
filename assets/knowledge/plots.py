"""Plots of what is published, as PNG bytes."""

from __future__ import annotations

from assets.plots import ACCENT, figure, png


def sizes(counts: dict[str, int]) -> bytes:
    """Nodes by kind, on a logarithmic axis."""
    made, axes = figure(1, 1, (7.5, 0.6 + 0.3 * max(2, len(counts))))
    names = list(reversed(counts))
    axes[0].barh(names, [counts[name] for name in names], color=ACCENT)
    axes[0].set(xscale="log", title="Things by kind")
    axes[0].grid(axis="x", color="#e4e7eb", lw=0.6)
    for place, name in enumerate(names):
        axes[0].text(counts[name], place, f" {counts[name]:,}", va="center", fontsize=8)
    return png(made)
