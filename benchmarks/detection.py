"""How late a change is found, and how often without one: the project's alarm beside others on the same streams.

Streams are simulated; the alarm promises at most one false alarm a year, and that is the aim. The others promise none.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from assets.monitoring.alarm import Alarm
from benchmarks.detectors import NULL, Figures, adwin, by_alarm, drifted, figures, half_drifted, page_hinkley, tuned
from benchmarks.drifting import ROWS_A_DAY, SCENES, YEAR, Live, Scene, live
from benchmarks.harness import World
from benchmarks.report import Row, percentile

FALSE_ALARMS = 1.0
OURS, TUNED = "the alarm", "Page-Hinkley on days, tuned"
WINDOWS = {"Evidently, weeks": 7, "Evidently, months": 30}
# Days that are alike, and the day among them on which the alarm's first block begins.
ALIKE = {"days independent": (1, 0), "weeks alike": (7, 0), "weeks alike, begun in mid-block": (7, 3)}
DEVIATION = 0.03
CHECKED = ("SEA", "Agrawal, small", "STAGGER", "SEA, inputs only")


def measure(world: World) -> list[Row]:
    home = world.home()
    done = world.call(home, "benchmarks.detection:streams", seeds=world.repeats(30, quick=2))
    world.say(f"streams: {done.seconds:.0f} s, Page-Hinkley tuned to a threshold of {done.result['threshold']:g}")
    rates = world.call(home, "benchmarks.detection:quiet", years=world.repeats(1000, quick=20)).result
    rows = [
        Row(f"the alarm, false ones a year, {name}", "1/year", (rate,), aim=FALSE_ALARMS)
        for name, rate in rates.items()
    ]
    found = {
        scene.name: {
            name: Figures(**{**f, "delays": tuple(f["delays"])}) for name, f in done.result[scene.name].items()
        }
        for scene in SCENES
    }
    for scene in SCENES:
        for name, f in found[scene.name].items():
            late = f"{percentile(f.delays, 0.5):.0f} / {percentile(f.delays, 0.9):.0f} days, {f.missed:.0%} missed"
            world.say(f"{scene.name}: {name}: {f.false_a_year:.2f} false a year, {f.false_share:.0%}; found in {late}")
        rows += scene_rows(scene, found[scene.name])
    checks = world.call(home, "benchmarks.detection:disagreements", windows=world.repeats(3)).result
    rows.append(
        Row(f"inputs that Evidently decides otherwise, of {checks['inputs']}", "1", (checks["otherwise"],), aim=0)
    )
    return rows


def scene_rows(scene: Scene, found: dict[str, Figures]) -> list[Row]:
    """The alarm beside each other detector; where nothing is worse after the change, every alarm is a false one."""
    ours = found[OURS]
    rows = [Row(f"{scene.name}: the alarm, false ones a year before", "1/year", (ours.false_a_year,), aim=FALSE_ALARMS)]
    for name, theirs in found.items():
        if name == OURS:
            continue
        pairs: list[tuple[str, str, tuple[float, ...], tuple[float, ...]]] = [
            ("false alarms a year before", "1/year", (ours.false_a_year,), (theirs.false_a_year,)),
            ("alarmed in the year before", "share", (ours.false_share,), (theirs.false_share,)),
        ]
        if scene.harm:
            p90 = tuple((percentile(f.delays, 0.9),) for f in (ours, theirs))
            pairs += [
                ("found after, p50", "days", ours.delays, theirs.delays),
                ("found after, p90", "days", *p90),
                ("missed", "share", (ours.missed,), (theirs.missed,)),
            ]
        else:
            pairs.append(("alarmed without harm", "share", (1 - ours.missed,), (1 - theirs.missed,)))
        rows += [Row(f"{scene.name}: {what}", unit, mine, name, other) for what, unit, mine, other in pairs]
    return rows


def one(name: str, seed: int) -> dict[str, Any]:
    """Days with an alarm by detector on one stream, and its daily mean losses."""
    stream = live(next(scene for scene in SCENES if scene.name == name), seed)
    losses, daily = stream.loss.ravel(), stream.daily
    return {
        "daily": daily,
        "change": stream.change,
        "found": {
            OURS: by_alarm(daily, stream.expected),
            "ADWIN on rows": adwin(losses, ROWS_A_DAY),
            "ADWIN on days": adwin(daily, 1),
            "Page-Hinkley on rows": page_hinkley(losses, ROWS_A_DAY),
            "Page-Hinkley on days": page_hinkley(daily, 1),
            **{title: half_drifted(stream, days) for title, days in WINDOWS.items()},
        },
    }


def streams(seeds: int) -> dict[str, Any]:
    """Figures by scene and detector, and the threshold of the tuned rival, which is tuned on SEA's quiet years."""
    jobs = [(scene.name, seed) for scene in SCENES for seed in range(seeds)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        done = dict(zip(jobs, pool.map(one, *zip(*jobs, strict=True)), strict=True))
    threshold = tuned([done[SCENES[0].name, seed]["daily"][:YEAR] for seed in range(seeds)], FALSE_ALARMS)
    result: dict[str, Any] = {"threshold": threshold}
    for scene in SCENES:
        runs = [done[scene.name, seed] for seed in range(seeds)]
        alarms = {name: [run["found"][name] for run in runs] for name in runs[0]["found"]}
        alarms[TUNED] = [page_hinkley(run["daily"], 1, threshold) for run in runs]
        changes = [run["change"] for run in runs]
        result[scene.name] = {name: vars(figures(days, changes, YEAR)) for name, days in alarms.items()}
    return result


def quiet(years: int) -> dict[str, float]:
    """The alarm's alarms a year of a model that loses what is expected, and of one exactly at the tolerance.

    There the promise is hardest to keep: harm begins just above.
    """
    return {
        f"{state}, {name}": alarms_a_year(years, mean, block, begun)
        for state, mean in (("as expected", 0.0), ("at the tolerance", NULL.tolerance))
        for name, (block, begun) in ALIKE.items()
    }


def alarms_a_year(years: int, mean: float, block: int, begun: int, block_days: int = 7) -> float:
    """By daily values around ``mean`` that are alike within ``block`` days."""
    rng = np.random.default_rng([block, begun])
    days = years * YEAR
    shifts = rng.normal(0, DEVIATION, days // block + 2)
    daily = mean + shifts[(np.arange(days) + begun) // block]
    return len(by_alarm(daily, 0.0, Alarm((NULL,), FALSE_ALARMS, block_days))) / years


def disagreements(windows: int) -> dict[str, int]:
    """Inputs that the adapter of Evidently calls drifted and the rule here does not, or the reverse."""
    inputs = otherwise = 0
    for scene in SCENES:
        if scene.name not in CHECKED:
            continue
        stream = live(scene, 0, before=30 * windows, after=30 * windows)
        for days in WINDOWS.values():
            for end in np.linspace(days, len(stream.rows), 2 * windows).astype(int):
                ours, theirs = both(stream, end - days, end)
                inputs += len(ours)
                otherwise += sum(a != b for a, b in zip(ours, theirs, strict=True))
    return {"inputs": inputs, "otherwise": otherwise}


def both(stream: Live, start: int, end: int) -> tuple[list[bool], list[bool]]:
    """Whether each input drifted in the days [start, end), by the rule here and by the project's adapter."""
    import pandas as pd

    from assets.monitoring.drift import compare

    names = [f"x{i}" for i in range(len(stream.kinds))]
    current = stream.rows[start:end].reshape(-1, len(names))
    kinds = dict(zip(names, stream.kinds, strict=True))
    frames = []
    for values in (stream.seen, current):
        frame = pd.DataFrame(values, columns=names).assign(score=np.linspace(0, 1, len(values)))
        frames.append(frame.astype({name: str for name, kind in kinds.items() if kind == "category"}))
    report = compare(frames[0], frames[1], kinds, max(map(len, frames)), seed=7)
    return drifted(stream.seen, current, stream.kinds), [column.drifted for column in report.features]
