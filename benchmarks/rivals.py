"""Models of how others decide about a canary, on the same streams of requests as the engine.

They are models of documented behaviour, not the programs: Argo Rollouts' analysis with its default ``failureLimit: 0``,
Flagger's ``threshold`` of failed checks, and the best window rule that a search over its settings found.
"""

from __future__ import annotations

import numpy as np

from benchmarks.streams import Stream, Verdict

SUCCESS = 0.99


def argo(s: Stream, interval_s: float = 60.0, steps: int = 5) -> Verdict:
    """One measurement a minute of the new version's success rate; the first below 99% ends the rollout.

    All steps passed, it is promoted. A minute without a request measures nothing and passes.
    """
    for number in range(1, steps + 1):
        end = number * interval_s
        if _success(s, end - interval_s, end) < SUCCESS:
            return _verdict(s, "rolled_back", end)
    return _verdict(s, "promoted", steps * interval_s)


def flagger(s: Stream, interval_s: float = 60.0, threshold: int = 5, steps: int = 5) -> Verdict:
    """A check a minute; each failed one halts the weight, and on the tick after the fifth, of all, it is rolled back.

    The stream's weights rise by the clock, while Flagger's wait for a passed check; a version that fails has therefore
    somewhat more traffic here than it would have there.
    """
    failed = passed = 0
    number = 0
    while passed < steps:
        number += 1
        end = number * interval_s
        if end > s.at[-1]:
            return Verdict("undecided", float("inf"), int((s.failed & s.new).sum()))
        if failed >= threshold:
            return _verdict(s, "rolled_back", end)
        if _success(s, end - interval_s, end) < SUCCESS:
            failed += 1
        else:
            passed += 1
    return _verdict(s, "promoted", number * interval_s)


def window(
    s: Stream,
    least: float = 0.94,
    window_s: float = 60.0,
    every_s: float = 10.0,
    requests: int = 30,
    until_s: float = 300,
) -> Verdict:
    """Looked at every 10 s: below 94% success in the last minute, of at least 30 requests, it is rolled back.

    Not rolled back in five minutes, it is promoted.
    """
    for end in np.arange(every_s, until_s + every_s, every_s):
        inside = s.new & (s.at >= end - window_s) & (s.at < end)
        if inside.sum() >= requests and 1 - s.failed[inside].mean() < least:
            return _verdict(s, "rolled_back", float(end))
    return _verdict(s, "promoted", until_s)


def _success(s: Stream, begin: float, end: float) -> float:
    inside = s.new & (s.at >= begin) & (s.at < end)
    return 1 - float(s.failed[inside].mean()) if inside.any() else 1.0


def _verdict(s: Stream, outcome: str, seconds: float) -> Verdict:
    return Verdict(outcome, seconds, int((s.failed & s.new & (s.at < seconds)).sum()))
