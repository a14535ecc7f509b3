"""A model's two training sets and the served window, from the domain's declarations and the stores."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.domains import Domain, following
from assets.features import online
from assets.features.offline import feature_marts, refuse_stale
from assets.features.resources import FeaturesResource
from assets.features.store import apply, open_store, repo_fingerprint
from assets.features.training_set import TrainingSet, build, find, read_examples, split
from assets.training.spec import ModelDeclaration
from assets.warehouse.ledger import build_keys
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

PARITY_EXAMPLES = 400


@contextmanager
def offline_store(domain: Domain) -> Iterator[FeatureStore]:
    """Feast with the repo's definitions, for joins only; its registry is thrown away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="clearway-features-"))
    try:
        store = open_store(domain.name, folder / "registry.db", folder / "online.db")
        apply(store, domain.feature_repo)
        yield store
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Window:
    """What a version is made of: by decision, labels known at ``as_of``, split at ``cut``.

    Attributes:
        period: the last month, whole.
        cut: predictions before it are learned from, those after it judged on.
        as_of: what became known later is left out.
        decision: id of the decision.
        refit: whether what passed is fitted on both parts in the end.
    """

    period: date
    cut: datetime
    as_of: datetime
    decision: str
    refit: bool


def build_both(
    domain: Domain,
    manifest: Manifest,
    model: ModelDeclaration,
    warehouse_file: Path,
    features: FeaturesResource,
    now: datetime,
    window: Window | None = None,
) -> tuple[TrainingSet, TrainingSet]:
    """The set to learn from, as known when its months ended, and the later one to be judged on, as known now.

    Args:
        window: decided upon; None takes the declared one.
    """
    if window is not None:
        whole = known_set(domain, manifest, model, warehouse_file, features, window.period, window.as_of)
        return split(whole, whole.path.parent, window.cut)
    declared = [
        (model.train.start, model.train.end, domain.bounds(model.train.end)[0]),
        (model.evaluate.start, model.evaluate.end, None),
    ]
    learn, later = _sets(domain, manifest, model, warehouse_file, features, now, declared)
    return learn, later


def known_set(
    domain: Domain,
    manifest: Manifest,
    model: ModelDeclaration,
    warehouse_file: Path,
    features: FeaturesResource,
    period: date,
    as_of: datetime,
) -> TrainingSet:
    """All labelled examples from the first month that the model learns from through ``period``, known at ``as_of``."""
    (found,) = _sets(
        domain, manifest, model, warehouse_file, features, as_of, [(model.train.start, following(period), as_of)]
    )
    return found


def _sets(
    domain: Domain,
    manifest: Manifest,
    model: ModelDeclaration,
    warehouse_file: Path,
    features: FeaturesResource,
    now: datetime,
    windows: Sequence[tuple[date, date, datetime | None]],
) -> list[TrainingSet]:
    """The set of each (first month, month after the last, as of), found or made."""
    marts = feature_marts(manifest)
    if model.examples.model not in manifest.models:
        raise ClearwayError(
            f"model {model.name}: field examples.model: expected a dbt model, found {model.examples.model!r}.",
            untouched="every training set.",
            todo=f"mend models/{model.name}.yaml.",
        )
    schema = manifest.models[model.examples.model].schema
    wanted = []
    for start, end, as_of in windows:
        _refuse_missing_months(domain, model, warehouse_file, start, end)
        refuse_stale(warehouse_file, features.path, marts, end)
        inputs = {
            **build_keys(warehouse_file, [*marts, model.examples.model], end),
            "feature_repo": repo_fingerprint(domain.feature_repo),
        }
        wanted.append((start, end, as_of, inputs))
    stored = [find(model, features.training_sets, *w) for w in wanted]
    if None in stored:  # only then is Feast worth its import
        with offline_store(domain) as store:
            stored = [
                found
                or build(model, store, warehouse_file, schema, features.training_sets, start, end, as_of, now, inputs)
                for found, (start, end, as_of, inputs) in zip(stored, wanted, strict=True)
            ]
    return [found for found in stored if found is not None]


def _refuse_missing_months(
    domain: Domain, model: ModelDeclaration, warehouse_file: Path, start: date, end: date
) -> None:
    built = {k.split("/")[1] for k in build_keys(warehouse_file, [model.examples.model], end)}
    missing = [p.isoformat() for p in domain.periods if start <= p < end and p.isoformat() not in built]
    if missing:
        raise ClearwayError(
            f"model {model.name}: {model.examples.model} was not built for {', '.join(missing)}.",
            untouched="every training set and every registry version.",
            todo="materialize the warehouse for these months, or move the window in the model's declaration.",
        )


def publish_window(
    domain: Domain, manifest: Manifest, warehouse_file: Path, features: FeaturesResource, as_of: datetime, key: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Materialise, compare, switch; nothing when the served window was made from the same inputs.

    Raises:
        online.ParityFailed: the window is discarded, the served one stays.
        ClearwayError: the feature tables are older than the warehouse, or the window cannot be written.
    """
    refuse_stale(warehouse_file, features.path, feature_marts(manifest), as_of.date())
    try:
        with online.only_writer(features.pointer):
            return _publish_window(domain, manifest, warehouse_file, features, as_of, key)
    except (OSError, sqlite3.Error) as error:
        raise ClearwayError(
            f"{features.pointer.parent}: the online window cannot be written: {error}",
            untouched="the served window.",
            todo="free disk space or give write permission, then materialize the window again.",
        ) from error


def _publish_window(
    domain: Domain, manifest: Manifest, warehouse_file: Path, features: FeaturesResource, as_of: datetime, key: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    served = online.current(features.pointer)
    if served is not None and served.get("key") == key and Path(served["online_store"]).exists():
        online.prune(features.pointer)
        return served, {**served["parity"], "status": "unchanged"}
    store, pointer = online.materialize(domain.name, domain.feature_repo, features.pointer.parent, as_of)
    entities = values = 0
    try:
        for model in domain.models.values():
            keys = _recent_keys(domain, manifest, model, warehouse_file, as_of)
            if keys.empty:
                continue
            parity = online.compare(store, model.feature_service, keys, as_of)
            if not parity.holds:
                raise online.ParityFailed(parity)
            entities, values = entities + parity.entities, values + parity.values
    except BaseException:
        online.discard(features.pointer, pointer)
        raise
    pointer = {**pointer, "key": key, "parity": {"entities": entities, "values": values}}
    online.switch(features.pointer, pointer)
    return pointer, {"entities": entities, "values": values, "status": "switched"}


def _recent_keys(
    domain: Domain, manifest: Manifest, model: ModelDeclaration, warehouse_file: Path, as_of: datetime
) -> pd.DataFrame:
    """Join keys of the newest examples: entities that are likely to be asked for."""
    from serving.models.inputs import join_keys

    start = (as_of - timedelta(days=40)).date().replace(day=1)
    schema = manifest.models[model.examples.model].schema
    examples = read_examples(model, warehouse_file, schema, start, as_of.date() + timedelta(days=1), as_of)
    return join_keys(model.serving_spec(), examples.tail(PARITY_EXAMPLES)).drop_duplicates().reset_index(drop=True)
