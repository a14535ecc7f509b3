"""Releases with real processes: changes of weights under load, what the chain adds, and rollouts from step to step.

Supervisord, Envoy, gateway, controller and model servers run as on a laptop, on the released version of the declared
model. The load comes from a process of its own that shares the machine's cores. What is not real is said: a stub in the
place of a language model where only the way to it is measured, and a server that is told to fail.
"""

from __future__ import annotations

from typing import Any

from benchmarks.delivery_llm import refuse_unless_installed
from benchmarks.delivery_router import CHANGES_A_WINDOW
from benchmarks.harness import LeftOut, World
from benchmarks.report import Row

STILL, SERVER, ENVOY = "the same load without changes", "the model server directly", "Envoy"


def measure(world: World) -> list[Row]:
    home = world.released()

    def call(function: str, **arguments: Any) -> Any:
        return world.call(home, f"benchmarks.delivery_{function}", **arguments).result

    rows = _added(call("router:stations", rounds=world.repeats(7), seconds=1.0 if world.quick else 5.0))
    world.say("weights are changed under load")
    windows = world.repeats(10)
    found = call("router:change_weights", windows=windows)
    if found["why"]:
        world.say(f"in the place of answers: {found['why']}")
    rows += _changes(found, CHANGES_A_WINDOW * windows)
    world.say("a version is released against its own artifact")
    rows += _alike(call("canaries:alike", rounds=world.repeats(3), quick=world.quick))
    world.say("a version begins to fail in the middle of its canary")
    rows += _failing(call("canaries:failing", rounds=world.repeats(5), quick=world.quick))
    world.quiet(home)
    try:
        refuse_unless_installed()
    except LeftOut as error:
        world.say(f"the rows of vLLM are left out: {error}")
        return rows
    world.say("a canary of a real language model, and one that is aborted")
    return rows + _llm(world.call(world.home(), "benchmarks.delivery_llm:steps", rounds=world.repeats(2)).result)


def _added(rounds: list[dict[str, float]]) -> list[Row]:
    """Differences of percentiles at two stations, which are measured in turn."""
    rows = []
    for what in ("p50", "p99"):
        server, envoy, gateway = (
            tuple(one[f"{station}_{what}"] for one in rounds) for station in ("server", "envoy", "gateway")
        )
        rows += [
            Row(f"an answer through both, {what}", "ms", gateway, SERVER, server),
            Row(f"Envoy adds, {what}", "ms", tuple(e - s for e, s in zip(envoy, server, strict=True))),
            Row(f"the gateway adds, {what}", "ms", tuple(g - e for g, e in zip(gateway, envoy, strict=True))),
        ]
    return rows


def _changes(found: dict[str, Any], changes: int) -> list[Row]:
    def of(kind: str, what: str) -> tuple[float, ...]:
        return tuple(one[what] for one in found[kind])

    changing = f"{changes} changes of weights"
    rows = [
        Row(f"{changing}, requests meanwhile", "1", (sum(of("changing", "sent")),)),
        Row(f"{changing}, requests lost", "1", (sum(of("changing", "lost")),), aim=0),
        Row(f"{changing}, answered by stable instead", "1", (found["instead"],), aim=0),
        Row("without changes, requests lost", "1", (sum(of("still", "lost")),), aim=0),
        Row("a change of two models, until Envoy has it", "ms", tuple(found["applied_ms"])),
    ]
    for target in ("prediction", "stream"):
        for what in ("p50", "p99"):
            values, rival = (of(kind, f"{target}_{what}") for kind in ("changing", "still"))
            rows.append(Row(f"{target} during changes, {what}", "ms", values, STILL, rival))
    return rows


def _alike(rounds: list[dict[str, float]]) -> list[Row]:
    rows = [
        Row(
            f"A/A rollouts that were not promoted, of {len(rounds)}",
            "1",
            (sum(1 - r["promoted"] for r in rounds),),
            aim=0,
        ),
        Row("A/A rollouts, requests lost", "1", (sum(r["lost"] for r in rounds),), aim=0),
    ]
    done = [r for r in rounds if r["promoted"]]
    for name, unit, what in (
        ("from submission to completion", "s", "in_all"),
        ("under gates", "s", "gated"),
        ("requests to the new version", "1", "requests"),
    ):
        if done:
            rows.append(Row(f"A/A rollout, {name}", unit, tuple(r[what] for r in done)))
    return rows


def _failing(rounds: list[dict[str, float]]) -> list[Row]:
    early = Row("all fails at 10%, left while it was sound", "1", (sum(r["early"] for r in rounds),), aim=0)
    rounds = [r for r in rounds if not r["early"]]
    if not rounds:
        return [early]

    def row(name: str, unit: str, what: str, aim: float | None = None) -> Row:
        return Row(f"all fails at 10%, {name}", unit, tuple(r[what] for r in rounds), aim=aim)

    slowest = max(r["after"] for r in rounds)
    return [
        early,
        row("first failed answer to decision", "s", "decided"),
        row("decision to the last request it got", "s", "after"),
        Row("all fails at 10%, the same, slowest", "s", (slowest,), aim=2),
        row("first to last failed answer", "s", "in_all"),
        row("failed answers", "1", "failed"),
        Row("all fails at 10%, failures users saw", "1", (sum(r["seen"] for r in rounds),), aim=0),
    ]


def _llm(found: dict[str, list[float]]) -> list[Row]:
    sent, lost, stayed = (sum(found.pop(name)) for name in ("sent", "lost", "not promoted"))
    rows = [Row(f"vLLM canary, {name}", "s", tuple(seconds)) for name, seconds in found.items()]
    return [
        *rows,
        Row("vLLM canaries that were not promoted", "1", (stayed,), aim=0),
        Row(f"vLLM canary, of {sent:.0f} chats lost", "1", (lost,), aim=0),
    ]
