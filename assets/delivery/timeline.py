"""A rollout as a picture: traffic, what the gates say, and the moments at which something was decided."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from assets.plots import ACCENT, INK, MUTED, SECOND, figure
from serving.rollout.gated import timeline_file
from serving.rollout.state import Rollout
from serving.settings import Settings

LOWEST, HIGHEST = 1e-3, 1e6
COLOURS = (ACCENT, SECOND, "#2f9e6e", "#9b59b6", "#b8860b", INK)


def points(rollout: Rollout, settings: Settings) -> list[dict[str, Any]]:
    """The rollout's timeline, one point a second, in order; empty when there is none. Torn lines are left out."""
    file: Path = timeline_file(settings, rollout.model, rollout.id)
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def picture_of(rollout: Rollout, settings: Settings) -> bytes | None:
    """PNG of weights and samples above the evidence of each gate; None for a rollout that was never under gates."""
    timeline = points(rollout, settings)
    if not timeline:
        return None
    return draw(rollout, timeline)


def draw(rollout: Rollout, timeline: list[dict[str, Any]]) -> bytes:
    """The picture of these points.

    Args:
        timeline: as :func:`points` gives them, at least one.
    """
    picture, axes = figure(3, 1, (9.0, 7.5), sharex=True)
    at = np.array([p["elapsed_s"] for p in timeline])
    _traffic(axes[0], rollout, timeline, at)
    limits = {"rollback": 1 / rollout.plan["alpha"], "promote": rollout.plan["promote_evidence"]}
    titles = {
        "rollback": "Evidence that it is worse than its margin allows (rolls back at the line)",
        "promote": "Evidence that it is within the margin (every gate must pass the line)",
    }
    for axis, (which, limit) in zip(axes[1:], limits.items(), strict=True):
        for colour, name in zip(COLOURS, timeline[-1]["gates"], strict=False):
            values = [p["gates"][name][which] for p in timeline]
            axis.plot(at, np.clip(values, LOWEST, HIGHEST), color=colour, lw=1.4, label=name.replace("_", " "))
        if which == "rollback":
            combined = [p["combined"] for p in timeline]
            axis.plot(at, np.clip(combined, LOWEST, HIGHEST), color=INK, lw=2, label="all, weighted")
        axis.axhline(limit, color="#c0392b", lw=1, ls="--")
        axis.set(yscale="log", title=titles[which])
        axis.legend(frameon=False, fontsize=8, ncol=4, loc="upper left")
    axes[-1].set(xlabel="seconds under gates")
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png")
    return buffer.getvalue()


def _traffic(axis: Any, rollout: Rollout, timeline: list[dict[str, Any]], at: np.ndarray) -> None:
    axis.step(at, [p["percent"] for p in timeline], where="post", color=ACCENT, lw=1.8, label="weight, %")
    axis.set(title=f"{rollout.model} version {rollout.version}: {rollout.status}", ylim=(0, 105), ylabel="weight, %")
    counts = axis.twinx()
    counts.plot(at, [p["new_requests"] for p in timeline], color=MUTED, lw=1.2, label="requests on the new version")
    counts.spines[["top"]].set_visible(False)
    counts.tick_params(labelsize=8, colors=INK)
    counts.set_ylim(bottom=0)
    handles = [*axis.get_lines(), *counts.get_lines()]
    axis.legend(handles, [h.get_label() for h in handles], frameon=False, fontsize=8, loc="upper left")
    for entry in rollout.entries:
        if entry["type"] in ("held", "paused", "resumed", "switched", "rolled_back") and "elapsed_s" in entry:
            axis.axvline(
                entry["elapsed_s"], color="#c0392b" if entry["type"] == "rolled_back" else MUTED, lw=0.9, ls=":"
            )
            axis.annotate(
                entry["type"].replace("_", " "), (entry["elapsed_s"], 100), fontsize=8, ha="right", va="top", color=INK,
                rotation=90,
            )  # fmt: skip
