"""An invented domain for the tests of serving: will a garden bed wilt? Real LightGBM, Feast and MLflow, small."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from serving.settings import Settings

MODEL = "wilting"
SERVICE = "wilting_v1"
# Of one view only.
OTHER_SERVICE = "wilting_v2"
AS_OF = datetime(2024, 6, 1, tzinfo=UTC)
BEDS = [f"bed-{i}" for i in range(20)]
CROPS = ["bean", "kale", "mint"]
REQUEST = {"bed": "bed-3", "crop": "kale", "watering": "2024-06-01T14:30:00+02:00", "litres": 4.5}


def spec(**changes: Any) -> Any:
    from serving.models.spec import ModelSpec

    def take(name: str, take: str, *fields: str, **more: Any) -> dict[str, Any]:
        zone = {"timezone": "Europe/Berlin"} if take not in ("value", "minutes_between") else {}
        return {"name": name, "source": {"request": {"take": take, "fields": list(fields), **zone}}, **more}

    declared: dict[str, Any] = {
        "model": MODEL,
        "request": [
            {"name": "bed", "type": "string", "required": False, "description": "bed label", "example": "bed-3"},
            {"name": "crop", "type": "string", "values": CROPS, "description": "what grows", "example": "kale"},
            {"name": "watering", "type": "timestamp", "example": "2024-06-01T14:30:00+02:00"},
            {"name": "harvest", "type": "timestamp", "required": False},
            {"name": "litres", "type": "number", "example": 4.5},
            {"name": "row", "type": "integer", "required": False},
            {"name": "shaded", "type": "boolean", "required": False},
        ],
        "inputs": [
            take("crop", "value", "crop", kind="category", categories=CROPS),
            take("hour", "hour", "watering"),
            take("weekday", "weekday", "watering"),
            take("minute", "minute_of_day", "watering"),
            take("until_harvest", "minutes_between", "watering", "harvest"),
            take("litres", "value", "litres"),
            take("row", "value", "row"),
            take("row_label", "value", "row", kind="category", categories=["1", "2", "7"]),
            take("shaded", "value", "shaded"),
            take("shade_label", "value", "shaded", kind="category", categories=["false", "true"]),
            {"name": "moisture", "source": {"feature": "bed_soil__moisture_7d"}},
            {"name": "soil", "kind": "category", "categories": ["clay", "loam"],
             "source": {"feature": "bed_soil__soil"}},
            {"name": "thirst", "source": {"feature": "bed_crop__thirst"}},
        ],
        "keys": {"bed_id": "bed", "bed_crop_id": "{bed}-{crop}"},
        "feature_service": SERVICE,
        "prediction_time": {"field": "watering", "offset_minutes": -120},
        "calibration": {"kind": "platt", "parameters": {"slope": 0.9, "intercept": -0.1}},
        "positive_label": "wilts",
        "threshold": 0.5,
        "metadata": {"snapshots": {"beds": "s-1"}},
    }  # fmt: skip
    return ModelSpec.model_validate({**declared, **changes})


def booster(inputs: int, seed: int = 0, rows: int = 600) -> Any:
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs))
    y = (x[:, 5] + rng.normal(size=rows) > 0).astype(int)
    data = lightgbm.Dataset(x, label=y)
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "seed": seed}, data, 20)


def register(settings: Settings, folder: Path, seed: int = 0, **changes: Any) -> str:
    """Train, save and register a version; returns its number."""
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from serving.models.model import TabularModel

    declared = spec(**changes)
    TabularModel.save(folder, booster(len(declared.inputs), seed), declared)
    (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(settings.mlflow)
    client = MlflowClient(tracking_uri=settings.mlflow, registry_uri=settings.mlflow)
    experiment = client.get_experiment_by_name("toy")
    ident = experiment.experiment_id if experiment else client.create_experiment("toy", settings.mlflow_artifacts)
    run = client.create_run(ident)
    client.log_artifacts(run.info.run_id, str(folder), "model")
    with contextlib.suppress(MlflowException):  # a second version finds it
        client.create_registered_model(MODEL)
    version = client.create_model_version(MODEL, f"runs:/{run.info.run_id}/model", run.info.run_id)
    return str(version.version)


def materialise(settings: Settings, window: str = "w1", moisture: float = 0.5) -> Path:
    """Build an online window and point at it; returns its SQLite file."""
    import pandas as pd
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.repo_config import RegistryConfig, RepoConfig
    from feast.types import Float64, String

    folder = settings.features / "online" / window
    folder.mkdir(parents=True, exist_ok=True)
    at = pd.Timestamp(AS_OF) - pd.Timedelta(hours=3)
    common = {"event_timestamp": at, "created_at": at}
    bed = pd.DataFrame({"bed_id": BEDS, "moisture_7d": moisture, "soil": "loam", **common})
    bed.loc[0, "moisture_7d"] = None
    pairs = [f"{b}-{c}" for b in BEDS for c in CROPS]
    pair = pd.DataFrame({"bed_crop_id": pairs, "thirst": 1.25, **common})
    views = []
    for name, key, frame, fields in [
        ("bed_soil", "bed_id", bed, [Field(name="moisture_7d", dtype=Float64), Field(name="soil", dtype=String)]),
        ("bed_crop", "bed_crop_id", pair, [Field(name="thirst", dtype=Float64)]),
    ]:
        file = folder / f"{name}.parquet"
        frame.to_parquet(file, coerce_timestamps="us")
        entity = Entity(name=key, join_keys=[key], value_type=ValueType.STRING)
        source = FileSource(
            name=name, path=str(file), timestamp_field="event_timestamp", created_timestamp_column="created_at"
        )
        views.append(FeatureView(name=name, entities=[entity], schema=fields, source=source, ttl=timedelta(days=60)))
        views.append(entity)
    service = FeatureService(name=SERVICE, features=[v for v in views if isinstance(v, FeatureView)])
    store = FeatureStore(
        config=RepoConfig(
            project="garden",
            provider="local",
            registry=RegistryConfig(path=str(folder / "registry.db")),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )
    other = FeatureService(name=OTHER_SERVICE, features=[v for v in views if getattr(v, "name", "") == "bed_crop"])
    store.apply([*views, service, other])
    store.materialize(AS_OF - timedelta(days=30), AS_OF)
    named = {
        "window": window,
        "project": "garden",
        "registry": str(folder / "registry.db"),
        "online_store": str(folder / "online.db"),
        "as_of": AS_OF.isoformat(),
    }
    aside = settings.online_pointer.with_suffix(".new")
    aside.write_text(json.dumps(named))
    aside.replace(settings.online_pointer)
    return folder / "online.db"


def home(folder: Path, *, versions: int = 2) -> Settings:
    """A home on free ports with registered versions and an online window.

    Version 3, when asked for, has an example that its own schema refuses, so its smoke test fails.
    """
    from serving.runtime.program import free_port

    ports: list[int] = []
    for _ in range(3):
        ports.append(free_port(taken=ports))
    settings = Settings(home=folder, gateway_port=ports[0], envoy_port=ports[1], envoy_admin_port=ports[2])
    for number in range(1, versions + 1):
        changes: dict[str, Any] = {}
        if number == 3:
            fields = [field.model_dump(mode="json") for field in spec().request]
            fields[1]["example"] = "oak"
            changes["request"] = fields
        register(settings, folder / "trained" / str(number), seed=number, **changes)
    materialise(settings)
    return settings
