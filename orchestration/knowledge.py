"""`make knowledge`: builds the graph, the vectors and the index, publishes them, and leaves them answering.

``python -m orchestration.knowledge check`` compares the stores with what was published, ``repair`` mends them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from typing import Any

from rich.table import Table

from orchestration.home import local_key, prepare
from orchestration.progress import console
from serving.errors import ClearwayError
from serving.settings import Settings, get_settings

TOLD = 10
JOBS = {"build": "knowledge", "check": "knowledge_check", "repair": "knowledge_repair"}


def main() -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="build", choices=JOBS)
    what = parser.parse_args().what
    try:
        settings = get_settings()
        prepare(settings)
        if not settings.warehouse_file.exists():
            raise ClearwayError(
                "there is no warehouse to make a graph of yet", untouched="everything.", todo="make run"
            )
        key = local_key(settings)
        from serving.retrieval.servers import start
        from serving.runtime.laptop import start_serving

        start_serving(settings)
        start(settings)
        console.print("[dim]graph and vectors answer[/]")
        from orchestration.commanded import execute

        result = execute(JOBS[what], command="knowledge")
        if what == "check":
            return _checked(result)
        if not result.success:
            from orchestration.failures import why

            console.print("\n[red bold]The knowledge was not published.[/] What people get is as it was.")
            for event in result.filter_events(lambda e: e.is_step_failure):
                console.print(f"\n[bold]{event.step_key}[/]\n{why(event)}")
            return 1
        _show(settings, key, time.monotonic() - started)
        _tell_untaken(result)
        return 0
    except ClearwayError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _checked(result: Any) -> int:
    """Tell how the stores differ from what was published."""
    (check,) = result.get_asset_check_evaluations()
    if check.passed:
        console.print("[green]Graph and vectors hold what was published.[/]")
        return 0
    console.print("[red bold]The stores do not hold what was published:[/]")
    for record in check.metadata["differences"].records:
        row = record.data
        console.print(f"{row['store']}: {row['count']} {row['what']}, such as {row['examples']}")
    console.print("`python -m orchestration.knowledge repair` mends them.")
    return 1


def _tell_untaken(result: Any) -> None:
    """Name what was dropped and is not in the knowledge: those who dropped it may look nowhere else."""
    from assets.knowledge.keys import TAKEN

    for check in result.get_asset_check_evaluations():
        if check.check_name != TAKEN or check.passed:
            continue
        count = int(check.metadata["not taken"].value)
        console.print(f"\n[yellow bold]Not taken: {count}.[/] Everything else that was dropped is in the knowledge.")
        for record in check.metadata["problems"].records[: min(count, TOLD)]:
            file, problem = record.data["file"], record.data["problem"]
            told = problem if file in problem else f"{file}: {problem}"
            console.print(f"  {told}", markup=False, highlight=False, soft_wrap=True)
        more = f" All are listed by the check `{TAKEN}` of knowledge/elements." if count > TOLD else ""
        console.print(f"Mend or remove the files and run `make knowledge` again.{more}")


def _show(settings: Settings, key: str, seconds: float) -> None:
    from assets.domains import current_domain
    from assets.knowledge.spec import read_graph
    from serving.retrieval.published import current

    now = current(settings)
    assert now is not None
    table = Table(title=f"\nknowledge, version {now.version}", title_justify="left", header_style="bold", box=None,
                  pad_edge=False)  # fmt: skip
    for column in ("what", "count"):
        table.add_column(column, justify="right" if column == "count" else "left")
    for name, count in now.counts.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    graph = read_graph(current_domain().folder)
    example = graph.example if graph and graph.example else "What is there?"
    console.print(
        f"\nAsk it:\ncurl -s {settings.gateway_url}/v1/retrieval/answer -H 'authorization: Bearer {key}' "
        f"-H 'content-type: application/json' -d {shlex.quote(json.dumps({'question': example}))}",
        soft_wrap=True,
    )
    console.print(f"or on its page: {settings.gateway_url}/know#key={key}", soft_wrap=True)
    console.print(f"\nFinished in {int(seconds // 60)} min {int(seconds % 60)} s.")


if __name__ == "__main__":
    sys.exit(main())
