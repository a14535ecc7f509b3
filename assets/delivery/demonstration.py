"""What `make rollouts` needs: two versions to try, a good one and a broken one, and users' real requests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from assets.declared import fingerprint
from assets.domains import Domain
from assets.features.resources import FeaturesResource
from assets.features.training_set import read_examples
from assets.training.spec import ModelDeclaration, Window
from assets.training.tabular.register import client
from assets.training.tabular.version import make, stable_version
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError
from serving.models import registry
from serving.models.model import TabularModel
from serving.models.spec import ModelSpec
from serving.settings import Settings

BROKEN_TAG, KIND_TAG = "clearway.broken", "clearway.demonstration"
SHORT_CONTEXT = 64


def good_version(
    domain: Domain,
    manifest: Manifest,
    model: ModelDeclaration,
    settings: Settings,
    now: datetime,
    progress: Callable[[str], None],
) -> str:
    """Another sound version than the stable one.

    It is trained on the declared months and all up to those that it is judged on; the next time, when that one is
    stable, it is the version before.
    """
    longer = model.model_copy(update={"train": Window(start=model.train.start, end=model.evaluate.start)})
    features = FeaturesResource(folder=str(settings.features))
    version = make(domain, manifest, longer, settings.warehouse_file, features, settings, now, progress).version
    stable = stable_version(model.name, settings)
    if version != stable:
        return version
    others = [v for v in registry.versions(model.name, settings) if v.version != stable and BROKEN_TAG not in v.tags]
    if not others:
        raise ClearwayError(f"model {model.name}: version {stable} is stable and there is no other sound one.")
    return others[0].version


def broken_version(model: str, settings: Settings) -> tuple[str, str]:
    """A version that refuses requests which stable answers, and in words what is wrong with it; registered once.

    Its artifact is stable's, but the first closed field of its request knows only every other value: what comes of
    training on a part of the data by mistake.

    Raises:
        ClearwayError: no version is stable, or its request has no closed field.
    """
    stable = stable_version(model, settings)
    if stable is None:
        raise ClearwayError(f"model {model}: no version is released.", todo="make run")
    for version in registry.versions(model, settings):
        if version.tags.get(BROKEN_TAG, "").startswith(f"of {stable}: "):
            return version.version, version.tags[BROKEN_TAG].split(": ", 1)[1]
    whole = TabularModel.load(registry.resolve(model, stable, settings))
    spec, words = _half_blind(whole.spec)
    with tempfile.TemporaryDirectory() as folder:
        TabularModel.save(Path(folder) / "model", whole.booster, spec)
        mlflow = client(settings)
        experiment = mlflow.get_experiment_by_name(model)
        ident = experiment.experiment_id if experiment else mlflow.create_experiment(model, settings.mlflow_artifacts)
        run = mlflow.create_run(ident, run_name="broken on purpose")
        mlflow.log_artifacts(run.info.run_id, str(Path(folder) / "model"), "model")
        mlflow.set_terminated(run.info.run_id)
        made = mlflow.create_model_version(
            model, f"runs:/{run.info.run_id}/model", run.info.run_id, tags={BROKEN_TAG: f"of {stable}: {words}"}
        )
    return str(made.version), words


def _half_blind(spec: ModelSpec) -> tuple[ModelSpec, str]:
    declared = spec.model_dump(mode="json")
    for field in declared["request"]:
        if field.get("values"):
            # The example stays, so that the smoke test passes: only users' requests show the fault.
            kept = [v for n, v in enumerate(field["values"]) if n % 2 == 0 or v == field.get("example")]
            words = f"knows {len(kept)} of {len(field['values'])} values of the field {field['name']}"
            field["values"] = kept
            return ModelSpec.model_validate(declared), words
    raise ClearwayError(f"model {spec.model}: its request has no closed field, so nothing can be broken that way.")


def llm_versions(declared: Path, settings: Settings) -> dict[str, tuple[str, str]]:
    """Versions of a declared language model, each registered once: number and what it is, in words.

    ``first`` is as declared; ``sound`` decodes fewer sequences together, which changes no answer; ``broken`` has a
    context that is too short for most prompts, which the short one of its smoke test does not show.
    """
    from serving.llm.register import read_declared, register

    spec = read_declared(declared)
    kinds = {
        "first": (spec, "as declared"),
        "sound": (spec.model_copy(update={"max_num_seqs": max(1, spec.max_num_seqs // 2)}), "decodes fewer together"),
        "broken": (spec.model_copy(update={"max_model_len": SHORT_CONTEXT}), f"a context of {SHORT_CONTEXT} tokens"),
    }
    known = {v.tags.get(KIND_TAG): v.version for v in registry.versions(spec.model, settings)}
    found = {}
    for kind, (changed, words) in kinds.items():
        tag = f"{kind} {fingerprint(changed.model_dump(mode='json'))}"
        version = known.get(tag) or register(changed, tags={KIND_TAG: tag}, alias=None, settings=settings)
        found[kind] = (version, words)
    return found


def chats(model: str, count: int = 50) -> list[dict[str, Any]]:
    """Bodies of chat completions, each with another prompt of some eighty tokens; eight tokens are asked for."""
    story = "A gardener keeps a diary of every bed: what was sown, when it rained, what the slugs left. " * 3
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": f"Note {n}. {story}What should be written for day {n}?"}],
            "max_tokens": 8,
            "stream": True,
        }
        for n in range(count)
    ]


def requests(
    domain: Domain, manifest: Manifest, model: ModelDeclaration, settings: Settings, now: datetime
) -> list[dict[str, Any]]:
    """Requests of the newest month, as callers send them, in the order of their prediction times."""
    import pandas as pd

    start, end = domain.periods[-1], domain.declared.partitions.end
    schema = manifest.models[model.examples.model].schema
    frame = read_examples(model, settings.warehouse_file, schema, start, end, now)
    names = [f.name for f in model.request]
    found = []
    for row in frame[names].astype(object).to_dict("records"):
        request = {}
        for name, value in row.items():
            if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
                continue
            request[str(name)] = value.isoformat() if hasattr(value, "isoformat") else value
        found.append(request)
    if not found:
        raise ClearwayError(f"model {model.name}: no example in the month of {start}.", todo="make run")
    return found
