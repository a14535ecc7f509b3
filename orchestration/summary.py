"""What `make run` ends with; every figure is read back from the stores."""

from __future__ import annotations

import json
import shlex
from typing import Any

from rich.table import Table

from assets.domains import current_domain
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.publish import raw
from orchestration.progress import console
from serving.settings import Settings


def show(settings: Settings, key: str, seconds: float) -> None:
    """Print the summary."""
    console.print()
    console.print(_rows(settings))
    console.print(_warehouse(settings))
    for model in current_domain().models:
        _model(settings, model, key)
    console.print(
        f"\nFinished in {int(seconds // 60)} min {int(seconds % 60)} s. "
        "`make ui` shows the graph, `make stop` ends the service."
    )


def _rows(settings: Settings) -> Table:
    domain = current_domain()
    lakehouse = Lakehouse(settings.catalog, settings.lakehouse)
    table = Table(title="Rows by month", title_justify="left", header_style="bold", box=None, pad_edge=False)
    table.add_column("month")
    for column in ("source", "received", "published", "quarantined", "repaired", "noted"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for name, source in domain.sources.items():
        for period, entry in sorted(lakehouse.ledger(raw(name)).items(), key=lambda x: str(x[0])):
            counts = [f"{entry.report[k]:,}" for k in ("received", "published", "quarantined", "repaired", "noted")]
            table.add_row(f"{period:%Y-%m}" if period else "-", source.name, *counts)
    return table


def _warehouse(settings: Settings) -> str:
    from assets.warehouse.ledger import last_results

    results = last_results(settings.warehouse_file).values()
    models = [r for r in results if r.unique_id.startswith("model.")]
    tests = [r for r in results if not r.unique_id.startswith("model.")]
    passed = sum(r.status == "pass" for r in tests)
    warned = sum(r.status == "warn" for r in tests)
    contracts = len(current_domain().sources)
    return (
        f"\n[bold]Contracts[/]  {contracts} sources, every published drop passed its audit"
        f"\n[bold]dbt[/]        {len(models)} models built; {passed} tests passed, {warned} warned, "
        f"{len(tests) - passed - warned} failed"
    )


def _model(settings: Settings, model: str, key: str) -> None:
    from serving.models.registry import versions
    from serving.rollout.read import read_state

    state = read_state(model, settings)
    if state.stable is None:
        console.print(f"\n[bold]{model}[/]  [red]no version is released[/]")
        return
    stable = state.arms[state.stable].version
    version = next(v for v in versions(model, settings) if v.version == stable)
    facts = json.loads(version.tags["clearway.facts"])
    table = Table(title=f"\n{model}", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in ("score", "value", "95% interval (7-day blocks)"):
        table.add_column(column, justify="left" if column == "score" else "right")
    for name, s in facts["scores"].items():
        table.add_row(name.replace("_", " "), f"{s['value']:.4f}", f"{s['low']:.4f} to {s['high']:.4f}")
    console.print(table)
    sets = facts["training_set"], facts["evaluation_set"]
    console.print(
        f"learned from {sets[0]['rows']:,} rows ({sets[0]['from']} to {sets[0]['to']}), judged on {sets[1]['rows']:,} "
        f"({sets[1]['from']} to {sets[1]['to']}); gates: "
        + ", ".join(f"{g['gate']} {'passed' if g['passed'] else 'FAILED'}" for g in facts["gates"])
    )
    rollout = [r for r in state.rollouts.values() if r.version == stable][-1]
    aliases = ", ".join(version.aliases) or "none"
    console.print(f"registry version {stable}, alias {aliases}; release {rollout.id}: [green]{rollout.phase}[/]")
    console.print(f"\nAsk it:\n{curl(settings, model, stable, key)}", soft_wrap=True)


def curl(settings: Settings, model: str, version: str, key: str) -> str:
    """A command that asks the released version for one prediction, as anyone can paste it."""
    from serving.models.registry import resolve
    from serving.models.spec import read_spec

    example: dict[str, Any] = read_spec(resolve(model, version, settings)).examples()
    return (
        f"curl -s {settings.gateway_url}/v1/predictions/{model} -H 'authorization: Bearer {key}' "
        f"-H 'content-type: application/json' -d {shlex.quote(json.dumps(example))}"
    )
