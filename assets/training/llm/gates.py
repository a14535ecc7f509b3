"""The gates of a copilot's version: floors, and that it beats what costs nothing. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from assets.training.llm.evaluate import ONE_SIDED, TWO_SIDED, Judged, paired, share
from assets.training.llm.spec import CopilotGates

GATES = {
    "valid": "The semantic layer takes what the version writes.",
    "exact": "The very query that was meant, for phrasings that were never trained on.",
    "phrasings": "Right results for phrasings that were never trained on.",
    "combinations": "Right results for metrics and dimensions that were never trained on together.",
    "values": "Right results for values that were never trained on.",
    "korean": "Right results for questions in Korean that were never trained on.",
    "refusals": "What has no answer is refused.",
    "answered": "What has an answer is not refused.",
    "marked": "Right results for questions that users marked wrong.",
    "red_team": "No hostile prompt is gone along with.",
    "seconds": "The median time from question to reply, one user at a time.",
    "tokens": "What a reply costs: tokens that the model writes, on the mean.",
    "nearest": "More right results than the nearest training question gives, paired.",
    "base": "More right results than the untuned base with everything in its prompt, paired.",
    "champion": "No fewer right results than what users get now, but for the margin, paired.",
}


def gates(
    floor: CopilotGates,
    judged: Sequence[Judged],
    nearest: Sequence[Judged],
    base: Sequence[Judged],
    champion: Sequence[Judged],
    marked: Sequence[Judged],
    hostile: int,
    facts: dict[str, Any],
) -> list[dict[str, Any]]:
    """The verdict of each gate: ``gate``, ``passed``, ``observed``, ``expected``. Pure.

    A share passes by its value, which is shown with its interval. What every domain has to be asked must have been
    asked; held-out combinations, values and marks are there when the domain has any.
    """
    english = [j for j in judged if j.line["language"] == "en"]
    found = []

    def at_least(
        name: str, members: Sequence[Judged], what: Callable[[Judged], bool], least: float, always: bool = True
    ) -> None:
        seen = share(members, what)
        low, high = seen.interval
        if not members:
            found.append({"gate": name, "passed": not always, "observed": "no such question was asked",
                          "expected": f"at least {least:.0%}"})  # fmt: skip
            return
        told = f"{seen.hits} of {seen.count} ({low:.1%} to {high:.1%})"
        found.append({"gate": name, "passed": seen.value >= least, "observed": told,
                      "expected": f"at least {least:.0%}"})  # fmt: skip

    def right(one: Judged) -> bool:
        return one.executed

    answerable = [j for j in english if j.answerable]
    at_least("valid", judged, lambda j: j.valid, floor.valid)
    phrasings = [j for j in answerable if j.line["split"] == "phrasing"]
    at_least("exact", phrasings, lambda j: j.exact, floor.exact)
    at_least("phrasings", phrasings, right, floor.executed)
    at_least(
        "combinations", [j for j in answerable if j.line["split"] == "combination"], right,
        floor.combination, False,
    )  # fmt: skip
    at_least("values", [j for j in answerable if j.line["split"] == "value"], right, floor.value, False)
    at_least("korean", [j for j in judged if j.line["language"] == "ko"], right, floor.korean, False)
    at_least("refusals", [j for j in english if not j.answerable], lambda j: j.refused, floor.refusals)
    at_least("answered", answerable, lambda j: not j.refused, floor.answered)
    at_least("marked", marked, right, floor.marked, False)
    went = len(facts["went_along"])
    found.append({"gate": "red_team", "passed": hostile - went >= floor.red_team * hostile,
                  "observed": f"{hostile - went} of {hostile} reached nothing",
                  "expected": f"at least {floor.red_team:.0%}"})  # fmt: skip
    middle, low, high = median(facts["seconds"])
    found.append({"gate": "seconds", "passed": middle <= floor.seconds,
                  "observed": f"median {middle:.2f} s ({low:.2f} to {high:.2f})",
                  "expected": f"at most {floor.seconds:g} s"})  # fmt: skip
    tokens = [float(j.said.completion_tokens) for j in judged]
    mean = sum(tokens) / len(tokens)
    half = 1.959964 * statistics.pstdev(tokens) / math.sqrt(len(tokens))
    found.append({"gate": "tokens", "passed": mean <= floor.tokens,
                  "observed": f"mean {mean:.1f} ({mean - half:.1f} to {mean + half:.1f})",
                  "expected": f"at most {floor.tokens:g}"})  # fmt: skip
    for name, other, least in (("nearest", nearest, 0.0), ("base", base, 0.0),
                               ("champion", champion, -floor.worse_than_champion)):  # fmt: skip
        mine = {_key(j): j for j in judged}
        both = [j for j in other if _key(j) in mine]
        if not both:
            found.append({"gate": name, "passed": True, "observed": "nothing to compare with", "expected": "-"})
            continue
        one_sided = name == "champion"
        mean, low, high = paired([mine[_key(j)] for j in both], both, ONE_SIDED if one_sided else TWO_SIDED)
        found.append({"gate": name, "passed": low > least,
                      "observed": f"{mean:+.1%} of {len(both)} ({low:+.1%} to {high:+.1%})",
                      "expected": f"above {least:+.1%}"})  # fmt: skip
    return found


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median of one value or more, with the order statistics around it that hold it at 95% or, of few, at most."""
    ordered, n = sorted(values), len(values)
    # P(fewer than k of n lie below the median), of a binomial with p = 1/2 (David, Order Statistics, 2.5).
    below, tail = 0, 0.0
    while below < n // 2 and tail + math.comb(n, below) / 2**n <= 0.025:
        tail += math.comb(n, below) / 2**n
        below += 1
    low = max(0, below - 1)
    return statistics.median(ordered), ordered[low], ordered[n - 1 - low]


def _key(judged: Judged) -> tuple[str, str]:
    return judged.line["question"], judged.line["today"]
