"""The knowledge: questions of several hops beside SQL, names, loading, changes, latencies, recall of the vectors.

Needs the NTSB export in ../shared/data/ntsb; its SOURCE.md says what it is. No language model is called.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.harness import LeftOut, World
from benchmarks.knowledge_stages import DOCUMENTS, SOURCE
from benchmarks.report import Row, percentile
from serving.settings import PROJECT

EXPORT = PROJECT.parent / "shared" / "data" / "ntsb" / "carol_export.csv"
# Of a full rebuild, what the change of one month may take.
CHANGE_AIM = 0.1
STORES = ("graph", "vectors")
ASKED = 100


def measure(world: World) -> list[Row]:
    if not EXPORT.exists():
        raise LeftOut(f"{EXPORT} is not there", untouched="everything.", todo="put the export there.")
    home = world.built()
    target = home.path / "landing" / "documents" / SOURCE / EXPORT.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(EXPORT, target)
    loads: dict[str, float] = {}
    world.details = {"load_average": loads}

    def call(function: str, say: str, **arguments: Any) -> Any:
        world.say(say)
        loads[function] = round(os.getloadavg()[0], 2)
        return world.call(home, f"benchmarks.knowledge_{function}", **arguments).result

    try:
        built = call("stages:rebuild", "the knowledge from nothing")
        changed = call("stages:one_month", "one month and some documents")
        answered = call("search:answered", "questions of several hops")
        names = call("operators:resolved", "names of operators")
        taken = call("search:latencies", "latencies", most=20 if world.quick else ASKED)
        recalled = call("search:recall", "nearest passages")
    finally:
        world.quiet(home)
    world.details |= {"questions": answered, "table": table(answered), "operators": names, "rebuild": built,
                      "one_month": changed}  # fmt: skip
    return [
        *_questions(answered), *_operators(names), *_loading(built, changed), *_change(built, changed),
        *_latencies(taken), *_recall(recalled),
    ]  # fmt: skip


def table(answered: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By kind and whether the phrasing is declared: asked, right with its 95% interval, taken for another query."""
    from assets.training.llm.evaluate import Share

    keys = dict.fromkeys((each["kind"], each["declared"]) for each in answered)
    rows = []
    for kind, declared in keys:
        some = [each for each in answered if (each["kind"], each["declared"]) == (kind, declared)]
        other = sum(each["query"] not in (None, kind) for each in some)
        row = {"kind": kind, "declared": declared, "asked": len(some), "taken_for_another": other}
        if kind != "none":
            share = Share(sum(each["right"] for each in some), len(some))
            row |= {"right": share.hits, "interval": [round(end, 3) for end in share.interval]}
        rows.append(row)
    return rows


def _questions(answered: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    asked = [each for each in answered if each["kind"] != "none"]
    others = [each for each in answered if each["kind"] == "none"]
    for what, declared in (("in other words than declared", False), ("in declared words", True)):
        some = [each for each in asked if each["declared"] == declared]
        yield Row(f"{what}: not SQL's answer, of {len(some)}", "%", (_percent(not each["right"] for each in some),))
    yield Row(f"taken for a wrong query, of {len(asked)}", "%",
              (_percent(each["query"] not in (None, each["kind"]) for each in asked),))  # fmt: skip
    yield Row(f"of no declared kind, taken for one, of {len(others)}", "%",
              (_percent(each["query"] is not None for each in others),))  # fmt: skip
    for kind in dict.fromkeys(each["kind"] for each in asked):
        some = [each for each in asked if each["kind"] == kind]
        yield Row(f"{kind}: not SQL's answer, of {len(some)}", "%", (_percent(not each["right"] for each in some),))


def _percent(verdicts: Iterable[bool]) -> float:
    found = list(verdicts)
    return round(100 * sum(map(bool, found)) / len(found), 1)


def _operators(names: Mapping[str, Any]) -> Iterator[Row]:
    scores = dict(names["scores"])
    ours = scores.pop("ours")
    for measured, what in (("precision", "wrong of the found"), ("recall", "missed"), ("f1", "below an F1 of 1")):
        for rival, theirs in scores.items():
            yield Row(f"{names['labelled']} operators: {what}", "%", (_lack(ours[measured]),), rival,
                      (_lack(theirs[measured]),))  # fmt: skip


def _lack(share: float) -> float:
    return round(100 * (1 - share), 1)


def _loading(built: Mapping[str, Any], changed: Mapping[str, Any]) -> Iterator[Row]:
    graph, vectors = built["written"]["graph"], built["written"]["vectors"]
    elements = graph["nodes_written"] + graph["relations_written"]
    yield Row(f"{elements:,} nodes and relations into the graph", "1/s", (elements / built["seconds"]["graph"],))
    yield Row(f"{vectors['written']:,} passages into the vectors, {vectors['embedded']:,} embedded", "1/s",
              (vectors["written"] / built["seconds"]["vectors"],))  # fmt: skip
    known = changed["known"]
    yield Row(f"{known['written']:,} passages into the vectors, {known['embedded']:,} embedded", "1/s",
              (known["written"] / changed["known_seconds"],))  # fmt: skip


def _change(built: Mapping[str, Any], changed: Mapping[str, Any]) -> Iterator[Row]:
    what = f"one month of flights and {DOCUMENTS} documents"
    before, after = built["seconds"], changed["seconds"]
    for name, steps in (("graph and vectors", STORES), ("all steps", tuple(before))):
        yield Row(f"{what}: {name}", "s", (sum(after[step] for step in steps),), "from nothing",
                  (sum(before[step] for step in steps),), aim=CHANGE_AIM)  # fmt: skip
    for step in before:
        yield Row(f"{what}: {step}", "s", (after[step],), "from nothing", (before[step],))


def _latencies(taken: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Row]:
    for name, by_users in taken.items():
        for users, ms in by_users.items():
            for share in (0.5, 0.99):
                yield Row(f"{name}, {users} at once, p{100 * share:g} of {len(ms)}", "ms",
                          (round(percentile(ms, share), 1),))  # fmt: skip


def _recall(recalled: Mapping[str, Any]) -> Iterator[Row]:
    for what, key in (("the index", "shares"), ("the same, searched exhaustively", "exhaustive")):
        shares = recalled[key]
        yield Row(f"of the 10 nearest of {recalled['passages']:,} passages, missed by {what}, {len(shares)} questions",
                  "%", (round(100 * (1 - sum(shares) / len(shares)), 2),))  # fmt: skip
