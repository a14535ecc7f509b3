"""Training-serving skew: what a version was given when it answered, beside what training would join for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.domains import Domain
from assets.features.sets import offline_store
from assets.features.training_set import historical_features
from assets.ingestion.lakehouse import Lakehouse
from assets.monitoring.served import documents, requests_frame, served
from assets.training.spec import ModelDeclaration
from serving import clock
from serving.models.inputs import join_keys, prediction_times
from serving.models.model import TabularModel
from serving.models.registry import resolve
from serving.rollout.read import read_state
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-6


@dataclass(frozen=True)
class FeatureSkew:
    """One feature over a sample of requests.

    Attributes:
        compared: requests.
        differing: share of them in which the two values differ by more than 1e-6 of their size, or one is missing.
        missing_served, missing_computed: share without a value on that side.
        mean_difference: mean absolute difference where both have one; None where they never have.
    """

    feature: str
    compared: int
    differing: float
    missing_served: float
    missing_computed: float
    mean_difference: float | None


@dataclass(frozen=True)
class Skew:
    """Skew of the newest month that a version served; ``version`` is None before the first release."""

    version: str | None
    month: str | None = None
    features: tuple[FeatureSkew, ...] = ()


def skew(domain: Domain, model: ModelDeclaration, lakehouse: Lakehouse, settings: Settings) -> Skew:
    """Compare a declared sample of the newest month that the stable version served and that is over.

    Raises:
        ClearwayError: the version or the feature tables cannot be read.
    """
    state = read_state(model.name, settings)
    if not state.stable:
        return Skew(None)
    version = state.arms[state.stable].version
    rows = served(lakehouse, model.name, version, domain.zone)
    if rows is None:
        return Skew(version)
    # The features of a month that is not over are not built, and all of them would differ.
    over = [f"{p:%Y-%m}" for p in domain.periods if domain.bounds(p)[1] <= clock.now()]
    whole = rows["month"][rows["month"].isin(over)]
    month = str((whole if len(whole) else rows["month"]).max())
    chosen = rows[rows["month"] == month]
    if len(chosen) > model.monitoring.sample:
        chosen = chosen.sample(model.monitoring.sample, random_state=model.monitoring.seed)
    found = documents(lakehouse, set(chosen["event_id"]))
    asked, given = zip(*(found[ident] for ident in chosen["event_id"]), strict=True)
    spec = TabularModel.load(resolve(model.name, version, settings), 1).spec
    if spec.feature_service is None:
        return Skew(version, month)
    requests = requests_frame(spec, list(asked))
    entities = join_keys(spec, requests).assign(event_timestamp=prediction_times(spec, requests))
    with offline_store(domain) as store:
        computed = historical_features(store, spec.feature_service, entities)
    names = [name for name in spec.features if name in computed]
    return Skew(version, month, tuple(_compared(name, [g.get(name) for g in given], computed[name]) for name in names))


def _compared(name: str, given: list[Any], computed: pd.Series) -> FeatureSkew:
    mine = np.array([np.nan if v is None else float(v) for v in given])
    theirs = computed.astype("float64").to_numpy()
    gone, absent = np.isnan(mine), np.isnan(theirs)
    apart = np.abs(mine - theirs) > TOLERANCE * np.maximum(1, np.abs(theirs))
    differs = (gone != absent) | np.where(gone | absent, False, apart)
    both = ~(gone | absent)
    mean = float(np.abs(mine - theirs)[both].mean()) if both.any() else None
    return FeatureSkew(name, len(mine), float(differs.mean()), float(gone.mean()), float(absent.mean()), mean)
