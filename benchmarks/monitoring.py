"""What the gate and the monitor are worth and cost: bad challengers promoted, and a month's monitoring in CPU time.

The gate is asked with simulated losses whose true difference is known. The monitor reads, reports and judges a month
of the reference model's predictions, as it is and eleven times as large, beside making these predictions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import World
from benchmarks.paired import BEGUN, INDEPENDENT, MARGIN, SKEWED, WEEKS, promoted
from benchmarks.report import Row

if TYPE_CHECKING:
    import pandas as pd

    from serving.models.model import TabularModel

LEVEL = 0.05
LENGTHS = {"a month": 30, "a quarter": 91, "eight months": 245}
GAINS = (0.005, 0.01, 0.02)
FACTOR, TIME_AIM, MEMORY_AIM = 11, 3.0, 3.0
MONTH = "2013-07-01"
BATCH = "predicting in one batch"
AS_IT_IS = "the month as it is"


def measure(world: World) -> list[Row]:
    gate = world.call(world.home(), "benchmarks.monitoring:gate", runs=world.repeats(2000, quick=80))
    world.say(f"the gate: {gate.seconds:.0f} s")
    rows = [Row(f"promoted, {name}", "share", (share,), aim=aim) for name, share, aim in gate.result]
    return rows + cost(world)


def gate(runs: int) -> list[tuple[str, float, float | None]]:
    """What was simulated, the share promoted, and its aim."""
    found: list[tuple[str, float, float | None]] = []
    for length, days in LENGTHS.items():
        for kind in (INDEPENDENT, WEEKS, BEGUN, SKEWED):
            name = f"worse by the margin, {length}, {kind.name}"
            found.append((name, promoted(runs, days, MARGIN, kind), LEVEL))
    days, runs = LENGTHS["eight months"], runs // 2
    for kind in (INDEPENDENT, WEEKS):
        found.append((f"worse by twice the margin, {kind.name}", promoted(runs, days, 2 * MARGIN, kind), LEVEL))
        found.append((f"as good, {kind.name}", promoted(runs, days, 0.0, kind), None))
        for gain in GAINS:
            found.append((f"better by {gain} nats, {kind.name}", promoted(runs, days, -gain, kind), None))
    return found


def cost(world: World) -> list[Row]:
    home = world.released()
    rate = world.call(home, "benchmarks.monitoring:served", seconds=2.0 if world.quick else 8.0).result
    world.quiet(home)
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    counts = {}
    for factor in (1, FACTOR):
        folder = str(world.root / f"monitored{factor}")
        counts[factor] = world.call(home, "benchmarks.monitoring:publish", folder=folder, factor=factor).result
        for _ in range(world.repeats(3)):
            for side, arguments in (("predict", {"factor": factor}), ("monitor", {"folder": folder})):
                done = world.call(home, f"benchmarks.monitoring:{side}", **arguments)
                for what, value in {**done.result, "process": done.cpu_seconds, "peak": done.peak_mib}.items():
                    found.setdefault((side, factor), {}).setdefault(what, []).append(value)
        ours, theirs = found["monitor", factor], found["predict", factor]
        world.say(f"{counts[factor]:,} predictions: " + ", ".join(f"{n} {v[0]:.1f}" for n, v in ours.items()))
        world.say("predicted: " + ", ".join(f"{n} {v[0]:.2f}" for n, v in theirs.items()))
    rows = []
    for factor, count in counts.items():
        ours, theirs = ({n: tuple(v) for n, v in found[side, factor].items()} for side in ("monitor", "predict"))
        month = f"{count:,} predictions"
        rows += [
            Row(f"monitoring {month}, CPU", "s", ours["all"], BATCH, theirs["all"]),
            Row(
                f"monitoring {month}, with imports, CPU",
                "s",
                ours["process"],
                "predicting, with imports",
                theirs["process"],
            ),
            Row(f"monitoring {month}", "s", ours["wall"], "predicting through the gateway", (count / rate,)),
            Row(f"monitoring {month}, peak memory", "MiB", ours["peak"], BATCH, theirs["peak"]),
        ]
        rows += [Row(f"of it {part}, {count:,} predictions, CPU", "s", ours[part]) for part in PARTS]
    once, more = found["monitor", 1], found["monitor", FACTOR]
    for what, unit, name, aim in (("all", "s", "CPU", TIME_AIM), ("peak", "MiB", "peak memory", MEMORY_AIM)):
        title = f"monitoring {FACTOR} times the predictions, {name}"
        rows.append(Row(title, unit, tuple(more[what]), AS_IT_IS, tuple(once[what]), aim))
    return rows


# In children


PARTS = ("events read", "reference read", "report", "risk", "alarm")


class Clock:
    """CPU seconds by part, all of them together, and the wall's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] = time.process_time() - began

    def stop(self) -> dict[str, float]:
        return {**self.seconds, "all": time.process_time() - self._cpu, "wall": time.perf_counter() - self._wall}


def served(seconds: float) -> float:
    """Predictions a second through gateway and Envoy, 32 at once; the client shares the cores."""
    import asyncio

    import orjson

    from benchmarks.serving import ask, real_requests, until_answered
    from orchestration.home import local_key
    from serving.settings import get_settings

    settings = get_settings()
    model, _, requests = real_requests()
    url, bodies = f"{settings.gateway_url}/v1/predictions/{model}", [orjson.dumps(r) for r in requests]
    headers = {"content-type": "application/json", "authorization": f"Bearer {local_key(settings)}"}

    async def both() -> float:
        await until_answered(url, headers, bodies[0])
        await ask(url, headers, bodies, 32, 1.0)
        taken, elapsed = await ask(url, headers, bodies, 32, seconds)
        return len(taken) / elapsed

    return asyncio.run(both())


def _month(factor: int) -> tuple[TabularModel, pd.DataFrame]:
    """The stable version, and a month that it was judged on, ``factor`` times."""
    import pandas as pd

    model, sets = _stable()
    rows = pd.read_parquet(sets / f"{model.spec.metadata['evaluation_set']}.parquet")
    rows = rows[pd.to_datetime(rows["_period"]) == pd.Timestamp(MONTH)]
    return model, pd.concat([rows] * factor, ignore_index=True)


def _stable() -> tuple[TabularModel, Path]:
    """The stable version, and the folder of its sets."""
    import os

    from benchmarks.stages import Stages
    from serving.models.model import TabularModel
    from serving.models.registry import resolve
    from serving.rollout.read import read_state

    stages = Stages()
    name = next(iter(stages.domain.models))
    state = read_state(name, stages.settings)
    assert state.stable is not None
    artifact = resolve(name, state.arms[state.stable].version, stages.settings)
    return TabularModel.load(artifact, os.cpu_count() or 1), stages.settings.features / "training_sets" / name


def publish(folder: str, factor: int) -> int:
    """Put the month's answers, as the server records them, into a lakehouse of their own, labels beside; how many."""
    import pandas as pd
    import pyarrow as pa

    from assets.ingestion.events import TABLE
    from serving.models.inputs import derive

    model, rows = _month(factor)
    spec = model.spec
    requests = rows[[f.name for f in spec.request]].copy()
    for field in spec.request:
        if field.type == "timestamp":
            requests[field.name] = requests[field.name].map(pd.Timestamp.isoformat)
    features = rows[list(dict.fromkeys(spec.features))]

    def texts(frame: pd.DataFrame) -> list[str]:
        return [json.dumps(row, sort_keys=True) for row in json.loads(frame.to_json(orient="records"))]

    numbers = [f"r{n:07d}" for n in range(len(rows))]
    events = pd.DataFrame(
        {
            "event_id": numbers, "request_id": numbers, "model": spec.model, "version": "1", "arm": f"{spec.model}-v1",
            "caller": "bench", "window": "w", "request": texts(requests), "features": texts(features),
            "feature_times": "{}", "score": model.predict_proba(derive(spec.inputs, rows, rows)), "latency_ms": 1.0,
            "input_skew": 0.0, "label": "", "prediction_time": rows["_time"], "served_at": rows["_time"],
            "_segment": "s",
        }
    ).astype(dict.fromkeys(("prediction_time", "served_at"), "datetime64[us, UTC]"))  # fmt: skip
    days = rows["_time"].dt.floor("D").astype("datetime64[us, UTC]").astype("int64") // 86_400_000_000
    Path(folder).mkdir()
    pd.DataFrame({"request_id": numbers, "label": rows["_label"], "day": days}).to_parquet(_labels(folder))
    _lakehouse(folder).replace_rows(TABLE, pa.Table.from_pandas(events, preserve_index=False), "_segment", "s")
    return len(events)


def _lakehouse(folder: str) -> Any:
    from assets.ingestion.lakehouse import Lakehouse

    return Lakehouse(f"sqlite:///{folder}/catalog.db", f"file://{folder}/tables")


def _labels(folder: str) -> Path:
    return Path(folder) / "labels.parquet"


def predict(factor: int) -> dict[str, float]:
    """CPU and wall seconds of a month's predictions in one batch, features at hand; imports and reading aside."""
    from serving.models.inputs import derive

    model, rows = _month(factor)
    model.predict_proba(derive(model.spec.inputs, rows.head(100), rows.head(100)))
    clock = Clock()
    model.predict_proba(derive(model.spec.inputs, rows, rows))
    return clock.stop()


def monitor(folder: str) -> dict[str, float]:
    """CPU seconds by part, and wall seconds, of a month's monitoring with all labels known; imports aside."""
    import evidently.presets  # noqa: F401
    import numpy as np
    import pandas as pd
    import pyiceberg.table  # noqa: F401
    import scipy.stats  # noqa: F401

    from assets.monitoring import served as reading
    from assets.monitoring.alarm import Alarm, Null
    from assets.monitoring.drift import compare
    from assets.monitoring.risk import estimate_auc, estimate_brier, estimate_log_loss, log_losses, measured
    from benchmarks.stages import Stages

    domain = Stages().domain
    declared, zone = next(iter(domain.models.values())), domain.zone
    model, sets = _stable()
    sample, seed = declared.monitoring.sample, declared.monitoring.seed
    labels = pd.read_parquet(_labels(folder))
    truth, day = labels["label"].to_numpy(np.float64), labels["day"].to_numpy(np.int64)
    arm = f"{declared.name}-v1"
    known = {(arm, request): int(label) for request, label in zip(labels["request_id"], truth, strict=True)}
    clock = Clock()
    with clock.part("events read"):
        lakehouse = _lakehouse(folder)
        answers = reading.served(lakehouse, declared.name, "1", zone)
        assert answers is not None
        chosen = answers.sample(min(sample, len(answers)), random_state=seed).sort_index()
        asked = reading.documents(lakehouse, set(chosen["event_id"]))
        current = reading.current_frame(model.spec, chosen, asked, known)
    with clock.part("reference read"):
        reference = reading.reference_frame(declared, model, sets.parent)
    with clock.part("report"):
        compare(reference, current, reading.kinds(model.spec), sample, seed, model.spec.threshold)
    with clock.part("risk"):
        scores = answers.sort_values("request_id")["score"].to_numpy(np.float64)
        for estimate in (estimate_log_loss, estimate_brier, estimate_auc):
            estimate(scores)
        losses = log_losses(scores, truth)
        risk = measured(losses, day)
    with clock.part("alarm"):
        alarm = Alarm((Null("worse", 0.02, 0.2),))
        sums, counts = (np.bincount(day - day.min(), weights) for weights in (losses, None))
        for value in sums / counts:
            alarm.look({"worse": float(value) - risk.value})
    return clock.stop()
