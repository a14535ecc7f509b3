"""`make rollouts`: a canary of a sound version and one of a broken version, with real requests, step by step."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.table import Table

from orchestration.home import local_key, prepare
from orchestration.progress import console
from serving.errors import ClearwayError
from serving.rollout.state import Rollout
from serving.settings import Settings, get_settings

PER_SECOND = 40.0
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


def show(settings: Settings, key: str) -> int:
    """Run both canaries of every declared model; 0 when the sound version was promoted and the broken one left."""
    from assets.delivery.demonstration import broken_version, good_version, requests
    from assets.domains import current_domain
    from assets.warehouse.manifest import load_manifest
    from serving import clock
    from serving.rollout.plan import read_plan
    from serving.rollout.read import read_state
    from serving.rollout.submit import submit
    from serving.runtime.laptop import start_serving

    start_serving(settings)
    domain = current_domain()
    manifest = load_manifest(domain.dbt_project, settings.dbt_target)
    table = Table(title="Rollouts", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in ("model", "version", "what it is", "outcome", "under gates", "requests", "refused or failed"):
        table.add_column(column)
    as_hoped, pictures = True, []
    for model in domain.models.values():
        plan_file = domain.folder / "releases" / f"{model.release}_canary.yaml"
        if not plan_file.exists():
            continue
        if read_state(model.name, settings).stable is None:
            raise ClearwayError(f"model {model.name}: no version is released.", todo="make run")
        asked = requests(domain, manifest, model, settings, clock.now())
        url = f"{settings.gateway_url}/v1/predictions/{model.name}"
        for kind in ("sound", "broken"):
            if kind == "sound":
                words = "trained on more months"
                version = good_version(domain, manifest, model, settings, clock.now(), _say)
            else:
                version, words = broken_version(model.name, settings)
            console.print(
                f"\n[bold]{model.name} version {version}[/], {kind}: {words}; {PER_SECOND:.0f} requests a second"
            )
            plan = read_plan(
                plan_file, version=version, requested_by="make rollouts", reason=f"to see a {kind} version"
            )
            with Traffic(url, key, asked) as traffic:
                rollout = follow(model.name, submit(plan, settings), settings)
            outcome = "completed" if kind == "sound" else "rolled_back"
            as_hoped &= rollout.phase == outcome
            table.add_row(*_row(model.name, version, words, rollout, traffic))
            pictures += _picture(rollout, settings)
    console.print()
    console.print(table)
    for file in pictures:
        console.print(f"[dim]weights, requests and evidence: {file}[/]")
    return 0 if as_hoped else 1


def _say(text: str) -> None:
    console.print(f"[dim]{text}[/]")


def _row(model: str, version: str, words: str, rollout: Rollout, traffic: Traffic) -> list[str]:
    bad = sum(n for status, n in traffic.statuses.items() if status != "200")
    asked = sum(traffic.statuses.values())
    return [model, version, words, rollout.status, f"{rollout.elapsed_s:.0f} s", f"{asked:,}", f"{bad:,}"]


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
