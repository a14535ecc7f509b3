"""The rollout engine's decisions against models of Argo's, Flagger's and the best window rule's, on the same streams.

Seeded simulations of ten requests a second under weights of 10 to 50%, stable failing 0.5% of them; no process runs.
``alpha`` is 1% over all gates, margins are 0.2 points for rolling back and 1 point for promoting.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks import rivals
from benchmarks.harness import World
from benchmarks.report import Row, percentile
from benchmarks.streams import STEPS, Rate, Stream, Verdict, engine, stream
from serving.rollout.evidence import Evidence, RunningMean

STABLE, QUARTER_HOUR = 0.005, 900.0
Array = NDArray[np.float64]
RIVALS: dict[str, Callable[[Stream], Verdict]] = {
    "Argo's default": rivals.argo,
    "Flagger's default": rivals.flagger,
    "the best window": rivals.window,
}


def measure(world: World) -> list[Row]:
    runs = world.repeats(400, quick=20)
    rows: list[Row] = []
    for rate in (0.005, 0.006, 0.007):
        found = _decide(STABLE, rate, 1800, runs)
        rows.append(_share("rolled back", f"{rate:.1%} errors", found, "rolled_back", 0.01))
        if rate == STABLE:
            late = [v.outcome == "promoted" and v.seconds <= QUARTER_HOUR for v in found]
            rows.append(Row(f"not promoted in 15 min, {rate:.1%} errors", "share", (1 - _mean(late),), aim=0.05))
            rows += _times("promoted", f"{rate:.1%} errors", found, None, None)
        world.say(f"{rate:.1%} errors: {_words(found)}")
    for rate in (0.01, 0.015):
        found = _decide(STABLE, rate, 1800, runs)
        rows += [
            _share(what.replace("_", " "), f"{rate:.1%} errors", found, what) for what in ("rolled_back", "promoted")
        ]
    found = _decide(STABLE, 0.02, 1800, runs)
    rows.append(
        Row("not rolled back, 2% errors", "share", (1 - _mean([v.outcome == "rolled_back" for v in found]),), aim=0.05)
    )
    rows.append(_share("promoted", "2% errors", found, "promoted", 0.01))
    for rate, seconds, p50, p90 in ((0.05, 600, 120.0, 210.0), (0.2, 300, None, 50.0), (1.0, 60, None, 5.0)):
        found = _decide(STABLE, rate, seconds, runs)
        rows += _times("rolled back", f"{rate:.0%} errors", found, p50, p90)
        if rate == 1:
            rows.append(
                Row("bad answers, 100% errors, worst of all runs", "1", (float(max(v.bad for v in found)),), aim=6)
            )
    rows += _beside(runs)
    rows += _other_gates(runs // 2 or 1)
    return [*rows, *_against_rivals(runs)]


def _decide(stable: Rate, new: Rate, seconds: float, runs: int, **how: float) -> list[Verdict]:
    per_second, tilt = how.pop("per_second", 10.0), how.pop("tilt", 1.0)
    return [engine(stream(stable, new, seconds, seed, per_second, tilt=tilt), **how) for seed in range(runs)]


def _beside(runs: int) -> list[Row]:
    """Faults in mid-rollout, outages that both share, base rates that drift, little traffic, a router that cheats."""

    def late(rate: float) -> Callable[[Array], Array]:
        return lambda t: np.where(t < 240, STABLE, rate)

    def outage(t: Array) -> Array:
        return STABLE + 0.6 * ((t > 100) & (t < 130))

    def drift(t: Array) -> Array:
        return STABLE + 0.03 * t / 900

    rows = []
    for rate, seconds in ((0.05, 900), (1.0, 300)):
        found = [
            engine(stream(STABLE, late(rate), seconds, seed), promote_from=1) for seed in range(runs)
        ]  # a promotion before the fault would hide it
        caught = [v.seconds - 240 for v in found if v.outcome == "rolled_back"]
        rows.append(
            Row(
                f"rolled back after a fault that begins at 240 s, {rate:.0%} errors, p50",
                "s",
                (percentile(caught, 0.5),),
            )
        )
        if rate == 1:
            without = [
                engine(stream(STABLE, late(rate), seconds, seed), promote_from=1, restart_s=1e9).seconds - 240
                for seed in range(runs)
            ]
            rows.append(
                Row(
                    "the same with fresh gamblers",
                    "s",
                    (percentile(caught, 0.5),),
                    "without them",
                    (percentile(without, 0.5),),
                )
            )
    for name, rate in (("an outage of 30 s that both share", outage), ("a base rate that drifts to 3.5%", drift)):
        rows.append(_share("rolled back", name, _decide(rate, rate, 900, runs), "rolled_back", 0.01))
    few = _decide(STABLE, 0.2, 1800, runs, per_second=1.0)
    rows += _times("rolled back", "20% errors, 1 request a second", few, None, None)
    rows.append(
        _share(
            "rolled back",
            "a router that sends 1.2 times the weight",
            _decide(STABLE, STABLE, 1800, runs, tilt=1.2),
            "rolled_back",
            0.01,
        )
    )
    rows.append(
        _share(
            "held", "a router that sends 1.2 times the weight", _decide(STABLE, STABLE, 1800, runs, tilt=1.2), "held"
        )
    )
    return rows


def _other_gates(runs: int) -> list[Row]:
    """Latency 1.3 times as slow where 1.1 is allowed, and a mean loss of .25 against .20; each with a share of .3."""
    times: dict[str, list[float]] = {"latency x1.3": [], "quality .20 to .25": []}
    for seed in range(runs):
        s, rng = stream(0, 0, 1200, seed), np.random.default_rng(seed)
        answer = rng.lognormal(3.0, 0.4, len(s.at)) * np.where(s.new, 1.3 / 1.1, 1.0)
        slow = (answer > np.exp(3.0 + 0.4 * 1.645)).astype(float)
        loss = rng.beta(np.where(s.new, 1.0, 0.8), np.where(s.new, 3.0, 3.2))
        for name, outcome, centre, bet in (
            ("latency x1.3", slow, np.full(len(slow), 0.05), True),
            ("quality .20 to .25", loss, RunningMean().before(loss), False),
        ):
            gate = Evidence(0.0, 0.05, failure_bet=bet)
            evidence = gate.update(s.at, s.new, s.weight, outcome, centre)[0]
            over = np.flatnonzero(0.3 * evidence + 0.7 >= 100)
            times[name].append(float(s.at[over[0]]) if len(over) else 1200.0)
    return [Row(f"rolled back, {name}, p50", "s", (percentile(found, 0.5),)) for name, found in times.items()]


def _against_rivals(runs: int) -> list[Row]:
    """The same streams decided by each: healthy versions rolled back, faults found, and how fast."""
    rows = []
    scenes: tuple[tuple[str, Rate, Rate, str], ...] = (
        ("healthy, 0.5% errors", STABLE, STABLE, "rolled_back"),
        ("2% errors", STABLE, 0.02, "rolled_back"),
        ("5% errors", STABLE, 0.05, "rolled_back"),
    )
    for name, stable, new, what in scenes:
        streams = [stream(stable, new, 1800, seed, steps=STEPS) for seed in range(runs)]
        ours = [engine(s) for s in streams]
        for rival, decides in RIVALS.items():
            theirs = [decides(s) for s in streams]
            share = (_mean([v.outcome == what for v in found]) for found in (ours, theirs))
            rows.append(Row(f"share rolled back, {name}", "share", (next(share),), rival, (next(share),)))
            mine, other = ([v.seconds for v in found if v.outcome == what] for found in (ours, theirs))
            if name != scenes[0][0] and mine and other:
                rows.append(
                    Row(f"p50 to roll back, {name}", "s", (percentile(mine, 0.5),), rival, (percentile(other, 0.5),))
                )
    return rows


def _mean(values: list[bool]) -> float:
    return sum(values) / len(values)


def _share(label: str, scene: str, found: list[Verdict], outcome: str, aim: float | None = None) -> Row:
    return Row(f"{label}, {scene}", "share", (_mean([v.outcome == outcome for v in found]),), aim=aim)


def _times(label: str, scene: str, found: list[Verdict], p50: float | None, p90: float | None) -> list[Row]:
    outcome = label.replace(" ", "_")
    # One that was never decided so counts as the longest that was looked at, so that it is not left out.
    longest = max((v.seconds for v in found if np.isfinite(v.seconds)), default=float("nan"))
    seconds = [v.seconds if v.outcome == outcome else longest for v in found]
    return [
        Row(f"{label}, {scene}, p{share}", "s", (percentile(seconds, share / 100),), aim=aim)
        for share, aim in ((50, p50), (90, p90))
    ]


def _words(found: list[Verdict]) -> str:
    outcomes = sorted({v.outcome for v in found})
    return ", ".join(f"{sum(v.outcome == o for v in found)} {o.replace('_', ' ')}" for o in outcomes)
