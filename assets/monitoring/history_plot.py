"""The picture of a model's reviews: risk by period, what was decided, and what it brought."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from assets.monitoring.history import Chapter
from assets.plots import ACCENT, INK, MUTED, SECOND, figure


def drawn(chapters: Sequence[Chapter]) -> bytes:
    """Log loss estimated and measured, above; what a retraining was expected to save and saved, below. PNG."""
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
    numbers = {
        name: np.array([_number(r.numbers.get(name)) for r in records])
        for name in ("gain", "gain_low", "gain_high", "break_even")
    }
    colours = [SECOND if r.action == "retrain" else MUTED for r in records]
    below.bar(at, numbers["gain"], 0.5, color=colours, alpha=0.75, label="expected of newer data, by the backtest")
    reach = np.abs(np.stack([numbers[name] - numbers["gain"] for name in ("gain_low", "gain_high")]))
    below.errorbar(at, numbers["gain"], reach, fmt="none", ecolor=INK, elinewidth=0.7, alpha=0.5)
    if np.isfinite(numbers["break_even"]).any():
        below.plot(at, numbers["break_even"], color=INK, lw=1, ls="--", label="what a retraining must save")
    came = [(x, c.followed.brought) for x, c in zip(at, chapters, strict=True) if c.followed is not None]
    if came:
        where, found = np.array([x for x, _ in came]) + 0.33, [brought for _, brought in came]
        saved, low, high = (np.array([_number(b[n]) for b in found]) for n in ("saved", "low", "high"))
        below.errorbar(where, saved, np.stack([saved - low, high - saved]), fmt="D", ms=4, color=ACCENT, elinewidth=1,
                       label="what the release saved in its first month")  # fmt: skip
    below.axhline(0, color=MUTED, lw=0.6)
    below.legend(frameon=False, fontsize=8, loc="best")
    below.set(ylabel="nats a prediction", xticks=at)
    below.set_xticklabels([r.period[:7] for r in records], rotation=45)
    buffer = io.BytesIO()
    made.savefig(buffer, format="png")
    return buffer.getvalue()


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
