"""One review of a model: what is known of a period, what follows from it, and the record of both."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.domains import Domain, following
from assets.features.offline import feature_marts, refuse_stale
from assets.features.resources import FeaturesResource
from assets.monitoring.decision import (
    Calendar,
    ExpectedCost,
    LargestPSI,
    ManyDrifted,
    Never,
    Policy,
    Review,
    Verdict,
)
from assets.monitoring.health import Figure, Raised, alarms, figures, told
from assets.monitoring.record import Record, Records
from assets.monitoring.served import prediction_mart
from assets.monitoring.trial import Brought, tried
from assets.training.spec import ModelDeclaration
from assets.warehouse.ledger import build_keys, reading
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError, DeclarationError
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stores:
    """What a review reads and where it writes."""

    domain: Domain
    manifest: Manifest
    warehouse_file: Path
    features: FeaturesResource
    settings: Settings


def review(
    stores: Stores,
    model: ModelDeclaration,
    period: date,
    now: datetime,
    progress: Callable[[str], None],
    again: bool = False,
    first: bool = False,
) -> tuple[Record, bool]:
    """Decide once for a period, and keep the record.

    Args:
        now: data time; labels that become known later count for nothing.
        again: decide once more although there is a record.
        first: there is no version yet, and one is wanted.

    Returns:
        The record, and whether it is new.

    Raises:
        ClearwayError: the period is not over, the warehouse has not been built for it, or a store cannot be read.
    """
    records = Records(stores.settings.reviews, model.name)
    known = records.of(period)
    if known is not None and not again:
        progress(f"{model.name}: {known.id} was decided before: {known.action}")
        return known, False
    end = stores.domain.bounds(period)[1]
    if now < end:
        raise ClearwayError(
            f"model {model.name}: {period:%Y-%m} is not over at {now.isoformat()}, so it cannot be reviewed.",
            untouched="every record and every version.",
            todo="review a period that has ended.",
        )
    from assets.training.tabular.version import stable_version

    champion = stable_version(model.name, stores.settings)
    revision = known.revision + 1 if known else 1
    if champion is None:
        verdict = (
            Verdict("retrain", "no version is released, and a first one was asked for")
            if first
            else Verdict("wait", "no version is released; the first one is made by the job train, not by a review")
        )
        seen = _Seen()
    else:
        verdict, seen = _judge(stores, model, champion, period, now, records, progress)
    record = Record(
        model.name,
        period.isoformat(),
        revision,
        now.isoformat(),
        champion,
        verdict.action,
        verdict.why,
        cut=(end - timedelta(days=model.retraining.judge_days)).isoformat() if verdict.action == "retrain" else None,
        until=end.isoformat() if verdict.action == "retrain" else None,
        numbers=_finite({**verdict.numbers, **seen.numbers}),
        risk={figure["name"]: _finite(figure) for figure in told(seen.figures)},
        alarms=[_finite(item) for item in told(seen.alarms)],
        others=seen.others,
        brought=_finite(asdict(seen.brought)) if seen.brought else {},
    )
    records.write(record)
    progress(f"{record.id}: {record.action}: {record.why}")
    return record, True


@dataclass(frozen=True)
class _Seen:
    figures: tuple[Figure, ...] = ()
    alarms: tuple[Raised, ...] = ()
    others: dict[str, str] = field(default_factory=dict)
    brought: Brought | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


def _judge(
    stores: Stores,
    model: ModelDeclaration,
    champion: str,
    period: date,
    now: datetime,
    records: Records,
    progress: Callable[[str], None],
) -> tuple[Verdict, _Seen]:
    start, end = stores.domain.bounds(period)
    rows = judged_rows(stores, model, champion, now)
    day = start.astimezone(stores.domain.zone).date()
    after = end.astimezone(stores.domain.zone).date()
    rows = rows[rows["day"] < after]
    mine = rows[rows["day"] >= day]
    if mine.empty:
        return Verdict("wait", f"version {champion} was asked for nothing in {period:%Y-%m}"), _Seen()
    labels = mine["label"].to_numpy(np.float64)
    ordinals = np.array([d.toordinal() for d in mine["day"]], dtype=np.float64)
    found = tuple(figures(mine["score"].to_numpy(np.float64), labels, ordinals))
    since = _since(rows["day"].min(), champion, records, period)
    raised = tuple(alarms(rows, model.retraining.alarm, day, since, after))
    drifted, features, psi = _drift(stores.settings, model.name, champion, period)
    last = records.retraining(before=period)
    newest = last.id if last and following(date.fromisoformat(last.period)) == period else None
    trial = tried(stores, model, champion, period, now, newest, progress)
    facts = Review(
        f"{period:%Y-%m}",
        _months(model.train.end, period) + 1,
        labelled=int(rows["label"].notna().sum()),
        coverage=float(np.isfinite(labels).mean()),
        until_next=len(mine),
        since_retraining=_months(date.fromisoformat(last.period), period) if last else None,
        backtest=trial.backtest,
        alarmed=any(item.raised_on for item in raised),
        drifted=drifted,
        features=features,
        psi=psi,
    )
    verdict = model.retraining.policy.decide(facts)
    if trial.problem is not None and verdict.action != "retrain":
        verdict = Verdict("alert", f"{trial.problem} ({verdict.why})", verdict.numbers)
    others: dict[str, str] = {name: policy.decide(facts).action for name, policy in _others(features, model).items()}
    known = labels[np.isfinite(labels)]
    return verdict, _Seen(found, raised, others, trial.brought, {"rate": float(known.mean()) if len(known) else None})


def judged_rows(stores: Stores, model: ModelDeclaration, version: str, now: datetime) -> pd.DataFrame:
    """Every answer of a version, by the mart of predictions.

    Returns:
        ``day`` (date of the prediction, by the domain's clock), ``score``, ``label`` (1, 0, or NaN while ``now`` does
        not know it), and the columns of the declared slices.

    Raises:
        DeclarationError: the mart has no column that a slice names.
        ClearwayError: the domain has no mart of predictions, or it was not built.
    """
    mart = prediction_mart(stores.manifest, model)
    if mart is None:
        raise ClearwayError(
            f"model {model.name}: no dbt model tagged predictions has its label, so what it served cannot be judged.",
            untouched="every version; nothing was decided.",
            todo="add one with model, model_version, arm, request_id, prediction_date, score, "
            f"{model.examples.label} and {model.examples.label_known_at}.",
        )
    columns = sorted({s.column for s in model.retraining.alarm.slices})
    if missing := [c for c in columns if c not in mart.columns]:
        raise DeclarationError(
            f"models/{model.name}.yaml: retraining.alarm.slices: {mart.name} has no column {', '.join(missing)}.",
            untouched="every version; nothing was decided.",
            todo=f"name one of {', '.join(sorted(mart.columns))}.",
        )
    chosen = "".join(f', "{c}"' for c in columns)
    label, known_at = model.examples.label, model.examples.label_known_at
    import duckdb

    try:
        with reading(stores.warehouse_file) as connection:
            frame = connection.execute(
                f'select prediction_date as day, score, case when "{known_at}" <= ? then "{label}"::integer end::double'
                f' as label{chosen} from "{mart.schema}"."{mart.name}" where model = ? and model_version = ?',
                [now, model.name, version],
            ).df()
    except duckdb.Error as error:
        raise ClearwayError(
            f"{stores.warehouse_file}: {mart.name} cannot be read: {error}",
            untouched="every version; nothing was decided.",
            todo="run the job monitor, which builds it of the prediction events.",
        ) from error
    frame["day"] = frame["day"].dt.date
    return frame


def _since(first_day: date, champion: str, records: Records, period: date) -> date:
    """The alarm begins with the champion, and anew after a review at which it was raised: somebody was told."""
    told_of = [r for r in records.all() if r.champion == champion and r.raised and r.period < period.isoformat()]
    if not told_of:
        return first_day
    return max(first_day, following(date.fromisoformat(told_of[-1].period)))


def _drift(settings: Settings, model: str, version: str, period: date) -> tuple[int, int, float]:
    """(drifted, compared, largest PSI) of the period's report; zeros while there is none."""
    beside = settings.reports / model / version / f"{period:%Y-%m}.json"
    if not beside.exists():
        return 0, 0, 0.0
    columns = json.loads(beside.read_text())["features"]
    return sum(c["drifted"] for c in columns), len(columns), max((c["psi"] for c in columns), default=0.0)


def _others(features: int, model: ModelDeclaration) -> dict[str, Policy]:
    """Baselines that a record shows beside the declared policy."""
    mine = model.retraining.policy
    return {
        "never": Never(),
        "every review": Calendar(every=1),
        "every second review": Calendar(every=2),
        "half of the features drifted": ManyDrifted(k=max(1, math.ceil(features / 2))),
        "largest PSI above 0.2": LargestPSI(threshold=0.2),
        **({} if isinstance(mine, ExpectedCost) else {"expected cost": ExpectedCost()}),
    }


def _months(earlier: date, later: date) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """Without what JSON has no word for."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()}


def built(stores: Stores, model: ModelDeclaration, period: date) -> bool:
    """Whether the warehouse has the labels of a period, and the feature tables are as new as it."""
    if not stores.warehouse_file.exists():
        return False
    until = following(period)
    if f"{model.examples.model}/{period.isoformat()}" not in build_keys(
        stores.warehouse_file, [model.examples.model], until
    ):
        return False
    try:
        refuse_stale(stores.warehouse_file, stores.features.path, feature_marts(stores.manifest), until)
    except ClearwayError:
        return False
    return True
