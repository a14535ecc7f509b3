"""Training sets as known at the time: each row sees only what had become known when its prediction was asked for."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.features.joined import joined
from assets.training.spec import ModelDeclaration
from assets.warehouse.ledger import reading
from serving.errors import ClearwayError

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

CODE_VERSION = "1"


@dataclass(frozen=True)
class TrainingSet:
    """A named, stored training set.

    Attributes:
        key: hash of everything that it depends on.
        path: parquet; the request fields, ``view__feature`` columns, and ``_id``, ``_label``, ``_period``,
            ``_time`` (prediction time, UTC).
        facts: rows, positive share, months, as-of instant, snapshots.
    """

    key: str
    path: Path
    facts: dict[str, Any]

    def read(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self.path)


def key_of(model: ModelDeclaration, start: date, end: date, as_of: datetime | None, inputs: dict[str, str]) -> str:
    """Key of the training set of ``model`` over the months [start, end), as known at ``as_of`` (None: by now)."""
    declared = model.model_dump(
        mode="json", include={"name", "examples", "request", "inputs", "keys", "prediction_time"}
    )
    return fingerprint([CODE_VERSION, declared, model.feature_service, start, end, as_of and as_of.isoformat(), inputs])


def find(
    model: ModelDeclaration, folder: Path, start: date, end: date, as_of: datetime | None, inputs: dict[str, str]
) -> TrainingSet | None:
    """The stored set of these inputs, or None."""
    key = key_of(model, start, end, as_of, inputs)
    path = folder / model.name / f"{key}.parquet"
    beside = path.with_suffix(".json")
    if not (path.exists() and beside.exists()):
        return None
    return TrainingSet(key, path, json.loads(beside.read_text()))


def build(
    model: ModelDeclaration,
    store: FeatureStore,
    warehouse_file: Path,
    schema: str,
    folder: Path,
    start: date,
    end: date,
    as_of: datetime | None,
    now: datetime,
    inputs: dict[str, str],
) -> TrainingSet:
    """Join features to the examples of the months [start, end) by their prediction times.

    Args:
        schema: the warehouse schema of the examples' mart.
        folder: where training sets lie.
        as_of: labels that became known later are left out, and of several versions of a label the last one known by
            then counts. None takes what is known by ``now``, so that the set changes only when its inputs do.
        inputs: names and keys of what the data was built from; part of the set's name.

    Raises:
        ClearwayError: there is no example.
    """
    from serving.models.inputs import join_keys, prediction_times

    key = key_of(model, start, end, as_of, inputs)
    path = folder / model.name / f"{key}.parquet"
    examples = read_examples(model, warehouse_file, schema, start, end, as_of or now)
    if examples.empty:
        raise ClearwayError(
            f"model {model.name}: no labelled example in {start} to {end} was known at {(as_of or now).isoformat()}.",
            untouched="every training set.",
            todo=f"materialize {model.examples.model} for these months, or move the window.",
        )
    spec = model.serving_spec()
    entities = join_keys(spec, examples)
    entities["event_timestamp"] = prediction_times(spec, examples)
    features = joined(
        entities,
        examples["_period"],
        {**inputs, "service": model.feature_service},
        folder / model.name,
        lambda rows: historical_features(store, model.feature_service, rows),
    )
    frame = examples.join(features)
    frame["_time"] = entities["event_timestamp"]
    facts = {
        "key": key,
        "model": model.name,
        "feature_service": model.feature_service,
        "from": start.isoformat(),
        "to": end.isoformat(),
        "as_of": as_of.isoformat() if as_of else "latest",
        "rows": len(frame),
        "positive_share": float(frame["_label"].mean()),
        "features": features.shape[1],
        "missing_share": {c: round(float(features[c].isna().mean()), 4) for c in features},
        "inputs": inputs,
    }
    facts["content"] = _content(frame)
    _store(frame, facts, path)
    return TrainingSet(key, path, facts)


def split(whole: TrainingSet, folder: Path, cut: datetime) -> tuple[TrainingSet, TrainingSet]:
    """The rows of predictions before ``cut`` and those from there on, stored as sets of their own.

    Args:
        folder: where the training sets of the model lie.

    Raises:
        ClearwayError: a part has no row.
    """

    parts = []
    frame: pd.DataFrame | None = None
    for side in ("before", "from"):
        key = fingerprint([CODE_VERSION, whole.key, side, cut.isoformat()])
        path = folder / f"{key}.parquet"
        beside = path.with_suffix(".json")
        if not (path.exists() and beside.exists()):
            frame = whole.read() if frame is None else frame
            rows = frame[(frame["_time"] < cut) == (side == "before")].reset_index(drop=True)
            if rows.empty:
                raise ClearwayError(
                    f"model {whole.facts['model']}: no labelled example is known {side} {cut.isoformat()}.",
                    untouched="every training set and every version.",
                    todo="wait for labels, or change retraining.judge_days in the model's declaration.",
                )
            instants = {"to": cut.isoformat()} if side == "before" else {"from": cut.isoformat()}
            facts = {
                **whole.facts,
                **instants,
                "key": key,
                "rows": len(rows),
                "positive_share": float(rows["_label"].mean()),
                "content": _content(rows),
            }
            _store(rows, facts, path)
        parts.append(TrainingSet(key, path, json.loads(beside.read_text())))
    return parts[0], parts[1]


def _store(frame: pd.DataFrame, facts: dict[str, Any], path: Path) -> None:
    """The rows first: facts without their rows would be taken for a finished set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, beside = path.with_suffix(".part"), path.with_suffix(".json")
    frame.to_parquet(part, index=False)
    beside.with_suffix(".part.json").write_text(json.dumps(facts, indent=2))
    os.replace(part, path)
    os.replace(beside.with_suffix(".part.json"), beside)


def read_examples(
    model: ModelDeclaration, warehouse_file: Path, schema: str, start: date, end: date, as_of: datetime
) -> pd.DataFrame:
    """Labelled examples of the months [start, end), each label in the version last known at ``as_of``."""
    e = model.examples
    fields = ", ".join(f'"{f.name}"' for f in model.request)
    with reading(warehouse_file) as connection:
        return connection.execute(
            f'select {fields}, "{e.id}" as _id, "{e.label}"::integer as _label, "{e.period}" as _period'
            f' from "{schema}"."{e.model}"'
            f' where "{e.period}" >= ? and "{e.period}" < ? and "{e.label_known_at}" <= ?'
            f' qualify row_number() over (partition by "{e.id}" order by "{e.label_known_at}" desc) = 1'
            f' order by "{e.event_timestamp}", _id',
            [start, end, as_of],
        ).df()


def historical_features(
    store: FeatureStore, service: str, entities: pd.DataFrame, *, as_known_then: bool = True
) -> pd.DataFrame:
    """Features of each entity row that hold at its ``event_timestamp``, in the order of the rows.

    Args:
        as_known_then: leave out what became known only after the row's ``event_timestamp``; without it the newest
            correction counts, as it does online.

    Returns:
        Columns ``view__feature``, index as ``entities``; NaN where nothing was known.
    """

    numbered = entities.reset_index(drop=True)
    numbered["_order"] = range(len(numbered))
    joined = store.get_historical_features(
        entity_df=numbered,
        features=store.get_feature_service(service),
        full_feature_names=True,
        filter_by_created_timestamp=as_known_then,
    ).to_df()
    if len(joined) != len(entities):
        raise ClearwayError(
            f"feature service {service}: the point-in-time join returned {len(joined)} rows for {len(entities)}.",
            untouched="every training set.",
            todo="use an offline store that keeps rows without a match, such as duckdb.",
        )
    joined = joined.sort_values("_order").reset_index(drop=True)
    features: pd.DataFrame = joined[[c for c in joined.columns if "__" in c]]
    features.index = entities.index
    return features


def _content(frame: pd.DataFrame) -> str:
    """Hash of the rows themselves (hex, 16 characters): a rebuild that changes nothing asks for no new model."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes() + ",".join(frame.columns).encode()).hexdigest()[:16]
