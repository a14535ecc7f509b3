"""The picture of a model's reviews: risk by period, and what was decided."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from assets.monitoring.history import Chapter
from assets.plots import ACCENT, INK, MUTED, SECOND, figure


def drawn(chapters: Sequence[Chapter]) -> bytes:
    """Log loss estimated and measured, above; the saving that was expected of a retraining, below. PNG."""
    made, (above, below) = figure(2, 1, (9, 5.2), sharex=True)
    at = np.arange(len(chapters))
    records = [c.record for c in chapters]

    def risk(name: str) -> np.ndarray:
        return np.array([r.risk.get("log_loss", {}).get(name) or np.nan for r in records], dtype=float)

    above.fill_between(at, risk("low"), risk("high"), color=ACCENT, alpha=0.15, lw=0)
    above.plot(at, risk("measured"), "o-", color=ACCENT, lw=1.6, ms=4, label="measured, with its 95% interval")
    above.plot(at, risk("estimated"), "o--", color=MUTED, lw=1.4, ms=4, label="estimated without labels")
    above.set(ylabel="log loss, nats", title=f"{records[0].model}: what users got, and what was decided")
    for x, chapter in zip(at, chapters, strict=True):
        if chapter.record.action == "retrain":
            for axis in (above, below):
                axis.axvline(x, color=SECOND, lw=1, alpha=0.6)
            state = chapter.state.replace("completed", "released")
            name = f"v{chapter.version} {state}" if chapter.version else state
            above.annotate(name, (x, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                           textcoords="offset points", fontsize=7, color=SECOND)  # fmt: skip
        elif chapter.record.action == "alert":
            above.annotate("alert", (x, 1), xycoords=("data", "axes fraction"), xytext=(0, -10),
                           textcoords="offset points", fontsize=7, color="#c0392b", ha="center")  # fmt: skip
    above.legend(frameon=False, fontsize=8, loc="lower left")
    saving = [r.numbers.get("saving") for r in records]
    cost = [r.numbers.get("cost") for r in records]
    heights = [np.nan if s is None else float(s) for s in saving]
    colours = [SECOND if r.action == "retrain" else MUTED for r in records]
    below.bar(at, heights, 0.6, color=colours)
    if any(c is not None for c in cost):
        below.plot(
            at, [np.nan if c is None else c for c in cost], color=INK, lw=1, ls="--", label="cost of a retraining"
        )
        below.legend(frameon=False, fontsize=8)
    below.set(ylabel="expected saving", xticks=at)
    below.set_xticklabels([r.period[:7] for r in records], rotation=45)
    buffer = io.BytesIO()
    made.savefig(buffer, format="png")
    return buffer.getvalue()
