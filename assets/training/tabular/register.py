"""Writes a trained version into MLflow: run, artifact, signature, gates; the alias only when the gates passed."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.training.tabular.gates import Verdict
from assets.training.tabular.scores import Score
from serving.faults import boundary
from serving.models.model import TabularModel
from serving.models.registry import CHALLENGER
from serving.models.spec import ModelSpec
from serving.settings import PROJECT, Settings

if TYPE_CHECKING:
    import lightgbm
    import pandas as pd
    from mlflow.tracking import MlflowClient

KEY_TAG = "clearway.key"
DECISION = "clearway.decision."  # and a decision's id: a tag of the versions that answer it


@dataclass(frozen=True)
class Registered:
    """A registry version.

    Attributes:
        version: its number, as text.
        run_id: MLflow run that made it.
        passed: whether all gates passed.
        facts: scores, verdicts, months, training set; as kept beside the version.
        new: False when the same key had been registered before.
    """

    model: str
    version: str
    run_id: str
    passed: bool
    facts: dict[str, Any]
    new: bool


def client(settings: Settings) -> MlflowClient:
    """MLflow's client on the profile's tracking server or database."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    if settings.mlflow.startswith("sqlite:///"):
        Path(settings.mlflow.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(settings.mlflow)
    mlflow.set_registry_uri(settings.mlflow)
    return mlflow.MlflowClient()


def find(mlflow_client: MlflowClient, model: str, key: str) -> Registered | None:
    """The version that was made from the same inputs, if there is one."""
    found = mlflow_client.search_model_versions(f"name = '{model}' and tag.`{KEY_TAG}` = '{key}'")
    if not found:
        return None
    newest = max(found, key=lambda v: int(v.version))
    facts = json.loads(newest.tags["clearway.facts"])
    return Registered(
        model, str(newest.version), newest.run_id or "", newest.tags["clearway.gates"] == "passed", facts, False
    )


def register(
    settings: Settings,
    model: str,
    key: str,
    booster: lightgbm.Booster,
    spec: ModelSpec,
    sample: pd.DataFrame,
    parameters: dict[str, Any],
    scores: dict[str, Score],
    verdicts: list[Verdict],
    facts: dict[str, Any],
    pictures: dict[str, bytes],
    trials: list[tuple[int, float, dict[str, Any]]],
) -> Registered:
    """Log a run and register its version.

    Args:
        key: hash of everything that the version depends on; a version with this key is never made twice.
        sample: a few rows with request fields and features, for the signature.
        facts: JSON-serialisable; kept with the version.
    """
    import mlflow

    mlflow_client = client(settings)
    experiment = mlflow_client.get_experiment_by_name(model)
    experiment_id = (
        experiment.experiment_id
        if experiment
        else mlflow_client.create_experiment(model, artifact_location=f"{settings.mlflow_artifacts}/{model}")
    )
    passed = all(v.passed for v in verdicts)
    commit = code_commit()
    facts = {
        **facts,
        "commit": commit,
        "scores": {name: vars(s) for name, s in scores.items()},
        "gates": [vars(v) for v in verdicts],
    }
    _quiet()
    with (
        mlflow.start_run(experiment_id=experiment_id, run_name=f"{model}-{key[:8]}") as run,
        tempfile.TemporaryDirectory() as tmp,
    ):
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.models import infer_signature

        now = 0
        mlflow_client.log_batch(
            run.info.run_id,
            metrics=[
                *(
                    Metric(f"{n}{suffix}", getattr(s, attr), now, 0)
                    for n, s in scores.items()
                    for suffix, attr in (("", "value"), ("_low", "low"), ("_high", "high"))
                ),
                *(Metric("search_log_loss", value, now, number) for number, value, _ in trials),
            ],
            params=[Param(k, str(v)[:500]) for k, v in parameters.items()],
            tags=[RunTag("clearway.commit", commit), RunTag(KEY_TAG, key)],
        )
        for name, png in pictures.items():
            path = Path(tmp) / f"{name}.png"
            path.write_bytes(png)
            mlflow.log_artifact(str(path), "plots")
        mlflow.log_dict(facts, "facts.json")
        mlflow.log_dict({"inputs": spec.input_names, "features": spec.features}, "feature_list.json")
        folder = Path(tmp) / "version"
        TabularModel.save(folder, booster, spec)
        columns = [*(f.name for f in spec.request), *spec.features]
        logged = mlflow.pyfunc.log_model(
            name=model,
            python_model=str(PROJECT / "serving" / "models" / "pyfunc.py"),
            artifacts={"version": str(folder)},
            signature=infer_signature(sample[columns], sample["_probability"].to_numpy()),
            pip_requirements=[
                f"lightgbm=={_installed('lightgbm')}",
                f"numpy=={_installed('numpy')}",
                f"pandas=={_installed('pandas')}",
            ],
        )
        version = mlflow.register_model(
            logged.model_uri,
            model,
            tags={
                KEY_TAG: key,
                "clearway.gates": "passed" if passed else "failed",
                "clearway.commit": commit,
                "clearway.facts": json.dumps(facts, default=str),
            },
        )
    boundary("version.registered")
    made = Registered(model, str(version.version), run.info.run_id, passed, facts, True)
    confirm(settings, made, facts.get("decision"))
    return made


def confirm(settings: Settings, version: Registered, decision: str | None) -> None:
    """Say of a registered version that it is the challenger, if it passed, and which decision it answers."""
    mlflow_client = client(settings)
    if decision:
        mlflow_client.set_model_version_tag(version.model, version.version, DECISION + decision, "made")
    if version.passed:
        mlflow_client.set_registered_model_alias(version.model, CHALLENGER, version.version)


def _quiet() -> None:
    """MLflow's hints are for notebooks: the signature is given, and integers that may be missing are declared so."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", module="mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)


@cache
def code_commit() -> str:
    """The commit of the project's code, with ``+changes`` when the tree differs from it; ``unknown`` without git."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if dirty else head


def _installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def read_plot(settings: Settings, registered: Registered) -> bytes | None:
    """The evaluation plot that was logged with the version's run."""
    import mlflow

    client(settings)
    with tempfile.TemporaryDirectory() as tmp:
        try:
            path = mlflow.artifacts.download_artifacts(
                run_id=registered.run_id, artifact_path="plots/evaluation.png", dst_path=tmp
            )
        except (mlflow.exceptions.MlflowException, OSError):
            return None
        return Path(path).read_bytes()
