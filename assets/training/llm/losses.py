"""The picture of a tuning."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any


def drawn(losses: Sequence[dict[str, Any]]) -> bytes:
    """Loss by step and its mean over ten steps, as PNG.

    Args:
        losses: as :class:`assets.training.llm.adapter.Adapter` has them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    steps, values = [step["step"] for step in losses], [step["loss"] for step in losses]
    axes.plot(steps, values, color="#9db7d5", linewidth=1, label="a step")
    means = [sum(values[max(0, i - 9) : i + 1]) / len(values[max(0, i - 9) : i + 1]) for i in range(len(values))]
    axes.plot(steps, means, color="#1f4e79", linewidth=2, label="mean of ten")
    axes.set(
        xlabel="step",
        ylabel="loss, nats a token of the reply",
        yscale="log" if values and min(values) > 0 else "linear",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
