"""Validates rendered objects strictly: Kubernetes' own by its published schemas, custom ones by their definitions."""

from __future__ import annotations

import copy
import gzip
from functools import cache, lru_cache
from typing import Any

import jsonschema
import kubernetes_validate.utils
import pytest
import yaml

from serving.settings import PROJECT

CRDS = PROJECT.parent / "shared" / "data" / "crds"
VERSIONS = ("1.32", "1.37")
# No definition of it is at hand.
NOT_VALIDATED = {"VirtualService"}


# It reads and parses megabytes of definitions for every object.
kubernetes_validate.utils.schema_contents = lru_cache(maxsize=None)(kubernetes_validate.utils.schema_contents)


def builtin(item: dict[str, Any]) -> None:
    """Against the oldest and the newest version that the documentation names; a field that neither has is an error."""
    for version in VERSIONS:
        kubernetes_validate.validate(item, version, strict=True)


def _strict(schema: Any) -> Any:
    """An OpenAPI schema of a definition as a JSON schema that takes no field which it does not name."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    # ``properties`` maps names that may be those of keywords, so it is walked by itself.
    found = {key: _strict(value) for key, value in schema.items() if key not in ("properties", "default", "format")}
    if "properties" in schema:
        found["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    return found


@lru_cache(maxsize=1)
def _definitions() -> dict[tuple[str, str], Any]:
    found = {}
    for path in sorted(CRDS.glob("*.yaml.gz")):
        for document in yaml.load_all(gzip.decompress(path.read_bytes()), Loader=yaml.CSafeLoader):
            if not document:
                continue
            for version in document["spec"]["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                # A definition leaves what every object has to the API server.
                schema["properties"]["metadata"] = {"type": "object"}
                key = f"{document['spec']['group']}/{version['name']}", document["spec"]["names"]["kind"]
                found[key] = schema
    return found


@cache
def _validator(version: str, kind: str) -> jsonschema.Draft202012Validator:
    schema = _definitions()[version, kind]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def custom(item: dict[str, Any]) -> None:
    if not CRDS.exists():
        pytest.skip(f"the custom resource definitions are not in {CRDS}")
    _validator(item["apiVersion"], item["kind"]).validate(item)


def is_custom(item: dict[str, Any]) -> bool:
    return item["apiVersion"].split("/")[0] in ("argoproj.io", "flagger.app")


def as_job(measure: dict[str, Any]) -> dict[str, Any]:
    """A Job that an analysis starts, as the cluster would be given it."""
    spec = copy.deepcopy(measure["provider"]["job"]["spec"])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "measure"}, "spec": spec}
