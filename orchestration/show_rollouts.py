"""`make rollouts`: a canary of a sound version and one of a broken version, with real requests, step by step."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.table import Table

from orchestration.home import local_key, prepare
from orchestration.progress import console
from serving.errors import ClearwayError
from serving.rollout.state import Rollout
from serving.settings import Settings, get_settings

PER_SECOND, LLM_PER_SECOND = 40.0, 2.0
PATIENCE_S = 1200.0


class Traffic:
    """``with Traffic(url, key, requests) as traffic``: users at a steady rate; counts answers by status and version."""

    def __init__(self, url: str, key: str, requests: list[dict[str, Any]], per_second: float = PER_SECOND) -> None:
        self._url, self._headers, self._requests = url, {"authorization": f"Bearer {key}"}, requests
        self._wait = 1 / per_second
        self.statuses: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    async def _run(self) -> None:
        import aiohttp

        async with aiohttp.ClientSession(headers=self._headers) as session:
            pending: set[asyncio.Task[None]] = set()
            due, number = time.monotonic(), 0
            while not self._stop.is_set():
                task = asyncio.create_task(self._ask(session, self._requests[number % len(self._requests)]))
                pending.add(task)
                task.add_done_callback(pending.discard)
                number += 1
                due += self._wait
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*pending)

    async def _ask(self, session: Any, request: dict[str, Any]) -> None:
        import aiohttp

        try:
            async with session.post(self._url, json=request) as response:
                await response.read()
                self.statuses[str(response.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.statuses[type(error).__name__] += 1

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()


def follow(model: str, ident: str, settings: Settings) -> Rollout:
    """Print what happens to a rollout until it is over, or waits for a person."""
    from assets.delivery.release import entries_in_words
    from serving.rollout.read import read_rollout

    shown, started = 0, time.monotonic()
    while True:
        rollout = read_rollout(model, ident, settings)
        for row in entries_in_words(rollout)[shown:]:
            seconds = time.monotonic() - started
            words = " ".join(filter(None, (row["entry"], row["weight"])))
            console.print(f"[dim]{seconds:6.1f} s[/]  [bold]{words:16}[/] [dim]{row['why'][:200]}[/]")
        shown = len(rollout.entries)
        if rollout.done or (rollout.stopped or "").startswith("held"):
            return rollout
        if time.monotonic() - started > PATIENCE_S:
            raise ClearwayError(f"rollout {ident} is {rollout.status} after {PATIENCE_S:.0f} s", todo="make status")
        time.sleep(0.2)


@dataclass(frozen=True)
class Case:
    """One rollout to be shown: a version, what is wrong or right with it, and the requests that it meets."""

    model: str
    version: str
    kind: str
    words: str
    plan_file: Path
    url: str
    bodies: list[dict[str, Any]]
    per_second: float = PER_SECOND


def show(settings: Settings, key: str) -> int:
    """Run a canary of a sound and of a broken version of each model; 0 when the one was promoted and the other left."""
    from serving.runtime.laptop import start_serving

    start_serving(settings)
    table = Table(title="Rollouts", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in ("model", "version", "what it is", "outcome", "under gates", "requests", "refused or failed"):
        table.add_column(column)
    as_hoped, pictures = True, []
    for case in chain(tabular_cases(settings), llm_cases(settings)):
        rollout, traffic = run_case(case, key, settings)
        as_hoped &= rollout.phase == ("completed" if case.kind == "sound" else "rolled_back")
        table.add_row(*_row(case, rollout, traffic))
        pictures += _picture(rollout, settings)
    console.print()
    console.print(table)
    for file in pictures:
        console.print(f"[dim]weights, requests and evidence: {file}[/]")
    return 0 if as_hoped else 1


def run_case(case: Case, key: str, settings: Settings) -> tuple[Rollout, Traffic]:
    """Submit the case's rollout and follow it, under its traffic."""
    from serving.rollout.plan import read_plan
    from serving.rollout.submit import submit

    rate = f"{case.per_second:g} requests a second"
    console.print(f"\n[bold]{case.model} version {case.version}[/], {case.kind}: {case.words}; {rate}")
    plan = read_plan(
        case.plan_file, version=case.version, requested_by="make rollouts", reason=f"to see a {case.kind} version"
    )
    with Traffic(case.url, key, case.bodies, case.per_second) as traffic:
        rollout = follow(case.model, submit(plan, settings), settings)
    return rollout, traffic


def tabular_cases(settings: Settings) -> Iterator[Case]:
    """Of each declared model that has a plan for canaries."""
    from assets.delivery.demonstration import broken_version, good_version, requests
    from assets.domains import current_domain
    from assets.warehouse.manifest import load_manifest
    from serving import clock
    from serving.rollout.read import read_state

    domain = current_domain()
    manifest = load_manifest(domain.dbt_project, settings.dbt_target)
    for model in domain.models.values():
        plan_file = domain.folder / "releases" / f"{model.release}_canary.yaml"
        if not plan_file.exists():
            continue
        if read_state(model.name, settings).stable is None:
            raise ClearwayError(f"model {model.name}: no version is released.", todo="make run")
        bodies = requests(domain, manifest, model, settings, clock.now())
        url = f"{settings.gateway_url}/v1/predictions/{model.name}"
        version = good_version(domain, manifest, model, settings, clock.now(), _say)
        yield Case(model.name, version, "sound", "trained on other months", plan_file, url, bodies)
        version, words = broken_version(model.name, settings)
        yield Case(model.name, version, "broken", words, plan_file, url, bodies)


def llm_cases(settings: Settings) -> Iterator[Case]:
    """Of each declared language model, when vLLM is installed; its first version is released beforehand."""
    from assets.delivery.demonstration import chats, llm_versions
    from assets.domains import current_domain
    from serving.llm import paths
    from serving.rollout.plan import ReleasePlan, Smoke
    from serving.rollout.read import read_state
    from serving.rollout.submit import submit

    folder = current_domain().folder
    declared = sorted((folder / "llms").glob("*.yaml"))
    if declared and not paths.ENVIRONMENT.exists():
        _say("language models are left out: vLLM is not installed (make llm)")
        return
    for file in declared:
        model, plan_file = file.stem, folder / "releases" / f"{file.stem}_canary.yaml"
        versions = llm_versions(file, settings)
        state = read_state(model, settings)
        stable = state.arms[state.stable].version if state.stable else None
        if stable is None:
            stable = versions["first"][0]
            console.print(f"\n[bold]{model} version {stable}[/], the first: {versions['first'][1]}")
            smoke = Smoke(requests=3, p95_ms=20_000)
            plan = ReleasePlan(
                model=model, version=stable, smoke=smoke, ready_timeout_s=240, requested_by="make rollouts"
            )
            first = follow(model, submit(plan, settings), settings)
            if first.phase != "completed":
                raise ClearwayError(f"model {model}: version {stable} was not released: {first.reason}")
        url, bodies = f"{settings.gateway_url}/v1/chat/completions", chats(model)
        sound = next(versions[kind] for kind in ("sound", "first") if versions[kind][0] != stable)
        for kind, (version, words) in (("sound", sound), ("broken", versions["broken"])):
            yield Case(model, version, kind, words, plan_file, url, bodies, LLM_PER_SECOND)


def _say(text: str) -> None:
    console.print(f"[dim]{text}[/]")


def _row(case: Case, rollout: Rollout, traffic: Traffic) -> list[str]:
    bad = sum(n for status, n in traffic.statuses.items() if status != "200")
    asked = sum(traffic.statuses.values())
    seconds = f"{rollout.elapsed_s:.0f} s"
    return [case.model, case.version, case.words, rollout.status, seconds, f"{asked:,}", f"{bad:,}"]


def _picture(rollout: Rollout, settings: Settings) -> list[Path]:
    """The rollout's timeline as a file; none for one that was never under gates."""
    from assets.delivery.timeline import picture_of

    drawn = picture_of(rollout, settings)
    if drawn is None:
        return []
    file = settings.rollouts / rollout.model / f"{rollout.id}.png"
    file.write_bytes(drawn)
    return [file]


def main() -> int:
    try:
        settings = get_settings()
        prepare(settings)
        return show(settings, local_key(settings))
    except ClearwayError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
