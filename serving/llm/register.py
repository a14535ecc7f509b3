"""Registers a language model's version: ``llm.json`` and the adapter's files, in the registry that all models share."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from serving.errors import ClearwayError
from serving.llm.fits import ADAPTER_WEIGHTS, base_digest, refuse_other_base
from serving.llm.memory import tensors
from serving.llm.spec import LLM_FILE, LLMSpec, base_of
from serving.models.registry import CHALLENGER, set_alias
from serving.settings import Settings, get_settings

ADAPTER_FOLDER = "adapter"
WEIGHTS_FOLDER = "model"
ADAPTER_CONFIG = "adapter_config.json"


def adapter_rank(folder: Path) -> int:
    """Rank of a LoRA adapter in peft's format.

    Raises:
        ClearwayError: a file is missing or is not what its name says.
    """
    try:
        rank = int(json.loads((folder / ADAPTER_CONFIG).read_text())["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClearwayError(
            f"{folder} is no LoRA adapter: {ADAPTER_CONFIG}: {error}",
            untouched="the registry.",
            todo="save it by peft.",
        ) from error
    if not list(tensors(folder / ADAPTER_WEIGHTS)):
        raise ClearwayError(f"{folder / ADAPTER_WEIGHTS} holds no weights", untouched="the registry.")
    return rank


def write_artifact(
    spec: LLMSpec,
    folder: Path,
    adapter: Path | None = None,
    template: Path | None = None,
    weights: Path | None = None,
) -> LLMSpec:
    """Make a version's artifact in ``folder``; returns the spec as written, its files named inside the artifact.

    Raises:
        ClearwayError: the adapter is none, or of a higher rank than the spec's ``max_lora_rank``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changes: dict[str, str | None] = {"adapter": None, "chat_template": None, "weights": None}
    if adapter is not None:
        rank = adapter_rank(adapter)
        if rank > spec.max_lora_rank:
            raise ClearwayError(
                f"the adapter in {adapter} has rank {rank}, {spec.model} declares max_lora_rank {spec.max_lora_rank}",
                untouched="the registry.",
                todo="raise max_lora_rank.",
            )
        (folder / ADAPTER_FOLDER).mkdir()
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            shutil.copyfile(adapter / name, folder / ADAPTER_FOLDER / name)
        changes["adapter"] = ADAPTER_FOLDER
    if weights is not None:
        shutil.copytree(weights, folder / WEIGHTS_FOLDER)
        changes["weights"] = WEIGHTS_FOLDER
    if template is not None:
        shutil.copyfile(template, folder / template.name)
        changes["chat_template"] = template.name
    written = spec.model_copy(update=changes)
    (folder / LLM_FILE).write_text(written.model_dump_json(indent=2))
    return written


def register(
    spec: LLMSpec,
    adapter: Path | None = None,
    *,
    template: Path | None = None,
    weights: Path | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    alias: str | None = CHALLENGER,
    settings: Settings | None = None,
) -> str:
    """Register a version; returns its number.

    Args:
        adapter: folder that peft's ``save_pretrained`` wrote; none: the version is the base itself.
        weights: folder of a whole model, tokenizer included, to serve instead of the base that it was made of.
        run_id: the training run to keep the artifact with; none: a run of its own.
        tags: of the version.
        alias: to point at it; none leaves aliases alone.

    Raises:
        ClearwayError: the base or the adapter is not there, or the registry cannot be reached.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    settings = settings or get_settings()
    base = base_of(spec, settings)
    if adapter is not None:
        adapter_rank(adapter)
        refuse_other_base(adapter / ADAPTER_WEIGHTS, Path(base))
        if Path(base).is_dir():
            spec = spec.model_copy(update={"base_digest": base_digest(Path(base))})
    if settings.mlflow.startswith("sqlite:///"):
        Path(settings.mlflow.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "version"
        write_artifact(spec, folder, adapter, template, weights)
        mlflow.set_tracking_uri(settings.mlflow)
        client = MlflowClient(tracking_uri=settings.mlflow, registry_uri=settings.mlflow)
        if run_id is None:
            found = client.get_experiment_by_name(spec.model)
            root = f"{settings.mlflow_artifacts}/{spec.model}"
            experiment = found.experiment_id if found else client.create_experiment(spec.model, root)
            run_id = client.create_run(experiment).info.run_id
            client.set_terminated(run_id)
        client.log_artifacts(run_id, str(folder), "version")
    with contextlib.suppress(MlflowException):  # there from the second version on
        client.create_registered_model(spec.model)
    source = f"{client.get_run(run_id).info.artifact_uri}/version"
    made = client.create_model_version(spec.model, source, run_id, tags={"clearway.kind": "llm", **(tags or {})})
    version = str(made.version)
    if alias is not None:
        set_alias(spec.model, alias, version, settings)
    return version


def main() -> None:
    parser = argparse.ArgumentParser(description="Register a version of a language model and print its number.")
    parser.add_argument("spec", type=Path, help="YAML file: the fields of LLMSpec")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter")
    options = parser.parse_args()
    try:
        print(register(read_declared(options.spec), options.adapter))
    except ClearwayError as error:
        raise SystemExit(str(error)) from error


def read_declared(file: Path) -> LLMSpec:
    """A spec from a YAML file.

    Raises:
        DeclarationError: names the file, each field and what was expected of it.
    """
    import yaml
    from pydantic import ValidationError

    from serving.errors import DeclarationError

    try:
        return LLMSpec.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise DeclarationError(f"{file}: {error}", untouched="the registry.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
        raise DeclarationError(f"{file}: {lines}", untouched="the registry.") from error


if __name__ == "__main__":
    main()
