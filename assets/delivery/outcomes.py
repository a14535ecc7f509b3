"""Hands the gates of a rollout what became known of its requests: metrics of the semantic layer, request by request."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from serving.errors import ClearwayError, DeclarationError
from serving.rollout.observations import ObservationWriter, Report
from serving.rollout.plan import ReleasePlan, parse_plan
from serving.rollout.read import read_state
from serving.semantics.catalogue import Catalogue
from serving.semantics.engine import MetricEngine
from serving.settings import Settings

REQUEST, MODEL, ARM, SERVED_ON = "request_id", "model", "arm", "served_on"


@dataclass(frozen=True)
class Reported:
    """What a rollout's gates were told now: requests with a value that they had not, by metric."""

    rollout: str | None
    requests: dict[str, int]


def metrics_of(plan: ReleasePlan) -> list[str]:
    """Names of the metrics by which a plan's gates judge."""
    return [gate.metric for gate in plan.gates.scalars if gate.metric]


def check_metrics(plan: ReleasePlan, catalogue: Catalogue, where: str) -> None:
    """See that a plan's metrics exist and can be told apart by request.

    Raises:
        DeclarationError: one does not; names ``where`` (the file), the gate, and what was expected.
    """
    for name in metrics_of(plan):
        metric = catalogue.metrics.get(name)
        if metric is None:
            near = get_close_matches(name, catalogue.metrics, n=3, cutoff=0.4)
            raise DeclarationError(
                f"{where}: gates.scalars: metric {name!r} does not exist",
                untouched="every running version.",
                todo=f"did you mean {' or '.join(near)}?" if near else "name a metric of the semantic layer.",
            )
        missing = {REQUEST, MODEL, ARM, SERVED_ON} - {d.name for d in metric.dimensions.values()}
        if missing:
            raise DeclarationError(
                f"{where}: gates.scalars: metric {name!r} has no dimension {', '.join(sorted(missing))}",
                untouched="every running version.",
                todo="gate on a metric of the mart of predictions, which has a value for each request.",
            )


def report(model: str, engine: MetricEngine, settings: Settings) -> Reported:
    """Report what the semantic layer knows of the requests of the model's running rollout; each value once.

    Raises:
        ClearwayError: a metric or the warehouse cannot be read, or another process reports.
    """
    from serving.semantics.query import Filter, MetricQuery

    state = read_state(model, settings)
    rollout = state.running
    if rollout is None or not rollout.gated or rollout.arm is None or state.stable is None:
        return Reported(None, {})
    plan = parse_plan(rollout.plan, rollout.id)
    gates = [gate for gate in plan.gates.scalars if gate.metric]
    began = next((e["at"] for e in rollout.entries if e["type"] in ("stepped", "shadowing")), None)
    if not gates or began is None:
        return Reported(rollout.id, {})
    check_metrics(plan, engine.catalogue(), rollout.id)
    where = (
        Filter(dimension=MODEL, values=(model,)),
        Filter(dimension=ARM, op="in", values=(rollout.arm, state.stable)),
        Filter(dimension=SERVED_ON, op=">=", values=(datetime.fromisoformat(began).date(),)),
    )
    file = _told_file(settings, model, rollout.id)
    told = {tuple(json.loads(line)) for line in file.read_text().splitlines()} if file.exists() else set()
    found: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for gate in gates:
        assert gate.metric is not None
        answer = engine.query(MetricQuery(metrics=(gate.metric,), group_by=(REQUEST,), where=where))
        for ident, value in answer.rows:
            if value is not None and (ident, gate.measure) not in told:
                found.setdefault(ident, {})[gate.measure] = float(value)
                counts[gate.metric] = counts.get(gate.metric, 0) + 1
    if found:
        _write(model, found, settings)
        # Killed in between, the gates are told again, and count each request once.
        with file.open("a") as lines:
            lines.writelines(json.dumps([i, m]) + "\n" for i, measures in found.items() for m in measures)
    return Reported(rollout.id, counts)


def _told_file(settings: Settings, model: str, rollout: str) -> Path:
    return settings.rollouts / model / f"{rollout}.outcomes.jsonl"


def _write(model: str, found: dict[str, dict[str, float]], settings: Settings) -> None:
    writer = ObservationWriter(settings, f"outcomes-{model}")
    try:
        now = time.time()
        writer.report([Report(now, ident, model, measures) for ident, measures in found.items()])
    finally:
        writer.close()


def waiting_for_metrics(model: str, settings: Settings) -> str | None:
    """The running rollout of a model whose gates judge by metrics, or None."""
    try:
        rollout = read_state(model, settings).running
        if rollout is None or not rollout.gated:
            return None
        return rollout.id if metrics_of(parse_plan(rollout.plan, rollout.id)) else None
    except ClearwayError:
        return None
