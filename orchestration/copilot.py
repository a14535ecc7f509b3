"""`make copilot`: draws pairs, tunes, proves and releases the copilot, with people's questions during the rollout."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from orchestration.home import local_key, prepare
from orchestration.progress import console
from orchestration.show_rollouts import Traffic
from serving.errors import ClearwayError
from serving.rollout.state import ModelState
from serving.semantics.asking import COPILOT
from serving.settings import Settings, get_settings

PER_SECOND = 0.8


def main() -> int:
    started = time.monotonic()
    try:
        settings = get_settings()
        prepare(settings)
        _needed(settings)
        key = local_key(settings)
        from serving.runtime.laptop import start_serving

        start_serving(settings)
        with asking(settings, key) as traffic:
            result = run_job()
        if not result.success:
            from orchestration.failures import why

            console.print("\n[red bold]The copilot was not released.[/] What users get is untouched.")
            for event in result.filter_events(lambda e: e.is_step_failure):
                console.print(f"\n[bold]{event.step_key}[/]\n{why(event)}")
            return 1
        _show(settings, key, traffic, time.monotonic() - started)
        return 0
    except ClearwayError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _needed(settings: Settings) -> None:
    from serving.llm import paths

    if not settings.warehouse_file.exists():
        raise ClearwayError("there is no warehouse to ask about yet", untouched="everything.", todo="make run")
    if not paths.interpreter().exists():
        raise ClearwayError("vLLM is not installed", untouched="everything.", todo="make llm")


def run_job() -> Any:
    """Run the job ``copilot`` as one run of the instance in DAGSTER_HOME."""
    from orchestration.commanded import execute

    return execute("copilot")


@contextmanager
def asking(settings: Settings, key: str) -> Iterator[dict[str, int]]:
    """People who ask while a version is released over another; gives what they were answered, by status.

    They begin when the new version's server starts, and go on until the block is left.
    """
    from serving.rollout.read import read_state

    over = threading.Event()
    counts: dict[str, int] = {}

    def people() -> None:
        try:
            while not over.is_set() and not under_way(read_state(COPILOT, settings)):
                over.wait(1)
            bodies = [] if over.is_set() else _questions(settings)
        except (ClearwayError, OSError) as error:
            console.print(f"[red]nobody asks during the rollout, so it will wait:[/] {error}")
            return
        if bodies:
            with Traffic(f"{settings.gateway_url}/v1/metrics/query", key, bodies, PER_SECOND) as traffic:
                over.wait()
            counts.update(traffic.statuses)

    thread = threading.Thread(target=people, name="people", daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def under_way(state: ModelState) -> bool:
    """Whether a version is being released to people who get another."""
    return state.stable is not None and state.running is not None


def _questions(settings: Settings) -> list[dict[str, Any]]:
    """Held-out questions that have an answer."""
    from assets.training.llm.dataset import newest
    from assets.training.llm.evaluate import lines

    held = [line for line in lines(newest(settings).path) if line["kind"] != "refusal" and line["language"] == "en"]
    return [{"question": line["question"]} for line in held]


def _show(settings: Settings, key: str, traffic: dict[str, int], seconds: float) -> None:
    from assets.domains import current_domain
    from assets.training.llm.spec import read_copilot
    from assets.training.llm.version import FACTS
    from assets.training.tabular.register import client
    from serving.rollout.read import read_state

    state = read_state(COPILOT, settings)
    assert state.stable is not None
    version = state.arms[state.stable].version
    facts = json.loads(client(settings).get_model_version(COPILOT, version).tags[FACTS])
    table = Table(title=f"\n{COPILOT}, version {version}", title_justify="left", header_style="bold", box=None,
                  pad_edge=False)  # fmt: skip
    for column in ("gate", "passed", "observed", "expected"):
        table.add_column(column)
    for gate in facts["gates"]:
        table.add_row(gate["gate"], "yes" if gate["passed"] else "[red]no[/]", gate["observed"], gate["expected"])
    console.print(table)
    rollout = [r for r in state.rollouts.values() if r.version == version][-1]
    console.print(
        f"rollout {rollout.id}: [green]{rollout.phase}[/]; questions during it, by status: {traffic or 'none'}"
    )
    declared = read_copilot(current_domain().folder)
    assert declared is not None
    asked = shlex.quote(json.dumps({"question": declared.example}))
    console.print(
        f"\nAsk it:\ncurl -s {settings.gateway_url}/v1/metrics/query -H 'authorization: Bearer {key}' "
        f"-H 'content-type: application/json' -d {asked}",
        soft_wrap=True,
    )
    console.print(f"or on its page: {settings.gateway_url}/ask#key={key}", soft_wrap=True)
    console.print(f"\nFinished in {int(seconds // 60)} min {int(seconds % 60)} s.")


if __name__ == "__main__":
    sys.exit(main())
