"""Makes a model's version once for what it depends on: sets, champion, declaration, code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.domains import Domain, following
from assets.features.resources import FeaturesResource
from assets.features.sets import Window, build_both, offline_store
from assets.features.training_set import historical_features
from assets.plots import version_plots
from assets.training.spec import ModelDeclaration
from assets.training.tabular.register import Registered, client, confirm, find, register
from assets.training.tabular.scores import Array
from assets.training.tabular.train import train, with_parameters
from assets.warehouse.ledger import source_snapshots
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError
from serving.models.inputs import derive, join_keys
from serving.models.model import TabularModel
from serving.models.registry import RegistryError, resolve
from serving.rollout.read import read_state
from serving.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


CODE_VERSION = "2"  # 2: a version records what its training saw of each input


class VersionGone(ClearwayError):
    """A version that is released and not in the registry any more."""


def make(
    domain: Domain,
    manifest: Manifest,
    model: ModelDeclaration,
    warehouse_file: Path,
    features: FeaturesResource,
    settings: Settings,
    now: datetime,
    progress: Callable[[str], None],
    window: Window | None = None,
) -> Registered:
    """Train, judge and register a version, or find the one that was made from the same inputs.

    The champion is not part of the key: a version that was released is not made again because it is champion now. A
    retraining that takes its champion's parameters has them, too.

    Args:
        window: decided upon; None takes the declared one.
    """
    champion = stable_version(model.name, settings)
    if window is not None and model.retraining.gates is not None:
        model = model.model_copy(update={"gates": model.retraining.gates})
    if window is not None and champion and not model.retraining.search:
        model = with_parameters(model, facts_of(model.name, champion, settings)["parameters"])
    learn, later = build_both(domain, manifest, model, warehouse_file, features, now, window)
    parts = [CODE_VERSION, model.fingerprint(), learn.facts["content"], later.facts["content"]]
    refit = window is not None and window.refit
    key = fingerprint([*parts, "refit"] if refit else parts)
    known = find(client(settings), model.name, key)
    if known is not None:
        progress(f"{model.name}: version {known.version} was made from the same inputs")
        # Whoever made it may have been killed before it said so, or have made it for another decision.
        confirm(settings, known, window.decision if window else None)
        return known
    threads = os.cpu_count() or 1
    learned_until, judged_until = (following(window.period),) * 2 if window else (model.train.end, model.evaluate.end)
    trained = train(
        model,
        learn.read(),
        later.read(),
        incumbent(domain, model, champion, settings, threads) if champion else None,
        {
            "training_set": learn.key,
            "evaluation_set": later.key,
            "as_of": learn.facts["as_of"],
            "snapshots": source_snapshots(warehouse_file, [model.examples.model], domain.periods[0], learned_until),
        },
        threads,
        progress,
        refit,
    )
    snapshots = source_snapshots(warehouse_file, [model.examples.model], domain.periods[0], judged_until)
    facts: dict[str, Any] = {
        "decision": window.decision if window else None,
        "refit": refit and all(v.passed for v in trained.verdicts),
        "snapshots": snapshots,
        "training_set": {k: v for k, v in learn.facts.items() if k != "missing_share"},
        "evaluation_set": {k: v for k, v in later.facts.items() if k not in ("missing_share", "inputs")},
        "champion": champion,
        "months": trained.months,
        "parameters": {**trained.fitted.parameters, "rounds": trained.fitted.rounds},
        "fold_losses": trained.fitted.fold_losses,
    }
    pictures = version_plots(trained.labels, trained.probabilities, trained.months, trained.importance)
    return register(
        settings,
        model.name,
        key,
        trained.fitted.booster,
        trained.spec,
        trained.sample,
        facts["parameters"],
        trained.scores,
        trained.verdicts,
        facts,
        pictures,
        trained.fitted.trials,
    )


def stable_version(model: str, settings: Settings) -> str | None:
    """The version that users get, by the rollout log; None before the first release."""
    state = read_state(model, settings)
    return state.arms[state.stable].version if state.stable else None


def facts_of(model: str, version: str, settings: Settings) -> dict[str, Any]:
    """What was recorded of a version when it was registered: parameters, scores, gates, sets, decision.

    Raises:
        VersionGone: the registry has it no more, or nothing is on its record.
        RegistryError: the registry cannot be asked now.
    """
    try:
        tags = client(settings).get_model_version(model, version).tags
    except Exception as error:  # MLflow raises its own, by store and by transport
        gone = getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
        raise (VersionGone if gone else RegistryError)(
            f"model {model}: what is on record of version {version} cannot be read: {type(error).__name__}: {error}",
            untouched="the champion and every alias.",
            todo="bring the version back, or release another." if gone else "try again when the registry answers.",
        ) from error
    if "clearway.facts" not in tags:
        raise VersionGone(
            f"model {model}: version {version} has no tag clearway.facts, which training writes.",
            untouched="the champion and every alias.",
            todo="bring the tag back, or release another version.",
        )
    found: dict[str, Any] = json.loads(tags["clearway.facts"])
    return found


def incumbent(
    domain: Domain, model: ModelDeclaration, version: str, settings: Settings, threads: int
) -> Callable[[pd.DataFrame], Array]:
    """The champion's probabilities for rows of a training set.

    A champion of an earlier revision of the feature list is given its own features for the same rows.
    """
    champion = TabularModel.load(resolve(model.name, version, settings), threads)

    def predict(frame: pd.DataFrame) -> Array:
        unknown = [f.name for f in champion.spec.request if f.name not in frame.columns]
        if unknown:
            raise ClearwayError(
                f"model {model.name}: the champion, version {version}, takes {', '.join(unknown)}, which the "
                "declared request no longer has, so the two cannot be compared on the same rows.",
                untouched="the champion and every alias.",
                todo="keep the fields in the request (not required) until the new version is champion.",
            )
        features = frame
        if set(champion.spec.features) - set(frame.columns):
            assert champion.spec.feature_service is not None
            entities = join_keys(champion.spec, frame).assign(event_timestamp=frame["_time"])
            with offline_store(domain) as store:
                features = historical_features(store, champion.spec.feature_service, entities)
        return champion.predict_proba(derive(champion.spec.inputs, frame, features))

    return predict
