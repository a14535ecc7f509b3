"""What can be asked: the metrics of a project and the dimensions of each, read from its semantic manifest.

The manifest is the JSON that dbt writes when it parses; nothing heavy is imported to read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError


@dataclass(frozen=True)
class Dimension:
    """Something to group or filter by.

    Attributes:
        name: short name, as a question uses it.
        qualified: MetricFlow's name, `<entity>__<dimension>`.
        label: for people.
        description: what its values are.
        meta: what is declared beside it under ``config.meta``.
    """

    name: str
    qualified: str
    label: str
    description: str
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as a question uses it.
        label: for people.
        description: what it counts, with its unit.
        kind: simple, ratio, derived or cumulative.
        inputs: the metrics it is made of; none for a simple one.
        accumulates: a value reaches back over earlier days, its own or that of an input.
        models: names of the dbt models that it reads, those of its inputs included.
        dimensions: what it can be grouped and filtered by, by qualified name.
        meta: what is declared beside it under ``config.meta``.
    """

    name: str
    label: str
    description: str
    kind: str
    inputs: tuple[str, ...]
    accumulates: bool
    models: tuple[str, ...]
    dimensions: dict[str, Dimension]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalogue:
    """The metrics of one semantic manifest, by name."""

    metrics: dict[str, Metric]

    def shared_dimensions(self, metrics: tuple[str, ...]) -> dict[str, Dimension]:
        """The dimensions, by qualified name, that all these metrics have."""
        first, *others = (self.metrics[name].dimensions for name in metrics)
        return {key: value for key, value in first.items() if all(key in other for other in others)}


def load_catalogue(semantic_manifest: Path) -> Catalogue:
    """Read a semantic manifest.

    Args:
        semantic_manifest: `semantic_manifest.json` of a dbt target folder.

    Raises:
        ClearwayError: there is none, or it cannot be read.
    """
    return catalogue_of(read_manifest(semantic_manifest))


def read_manifest(semantic_manifest: Path) -> dict[str, Any]:
    """The manifest as plain JSON.

    Raises:
        ClearwayError: there is none, or it cannot be read.
    """
    try:
        manifest: dict[str, Any] = json.loads(semantic_manifest.read_text())
    except (OSError, ValueError) as error:
        raise ClearwayError(
            f"{semantic_manifest}: the semantic manifest cannot be read: {error}",
            untouched="everything; no metric was asked for.",
            todo="run `dbt parse` on the project, or build the warehouse, which writes it.",
        ) from error
    return manifest


def catalogue_of(manifest: dict[str, Any]) -> Catalogue:
    """The catalogue of a manifest that was already read."""
    models = {model["name"]: model for model in manifest["semantic_models"]}
    raw = {metric["name"]: metric for metric in manifest["metrics"]}
    spines = [spine["node_relation"]["alias"] for spine in manifest["project_configuration"]["time_spines"]]
    metrics = {}
    for name, metric in raw.items():
        if metric["type_params"].get("is_private"):
            continue
        reads = list(dict.fromkeys(_semantic_models(name, raw)))
        tables = [models[model]["node_relation"]["alias"] for model in reads]
        accumulates = any(raw[each]["type"] == "cumulative" for each in [name, *_ancestors(name, raw)])
        if accumulates:
            tables += spines
        choices = [_dimensions(models[model], models) for model in reads]
        metrics[name] = Metric(
            name=name,
            label=metric["label"] or name,
            description=(metric["description"] or "").strip(),
            kind=metric["type"],
            inputs=tuple(_inputs(metric)),
            accumulates=accumulates,
            models=tuple(dict.fromkeys(tables)),
            dimensions={key: value for key, value in choices[0].items() if all(key in other for other in choices)},
            meta=(metric.get("config") or {}).get("meta") or {},
        )
    return Catalogue(metrics)


def _inputs(metric: dict[str, Any]) -> list[str]:
    params = metric["type_params"]
    parts = [params.get("numerator"), params.get("denominator"), *(params.get("metrics") or [])]
    parts.append((params.get("cumulative_type_params") or {}).get("metric"))
    conversion = params.get("conversion_type_params") or {}
    parts += [conversion.get("base_metric"), conversion.get("conversion_metric")]
    return list(dict.fromkeys(part["name"] for part in parts if part))


def _ancestors(name: str, raw: dict[str, dict[str, Any]]) -> Iterator[str]:
    for each in _inputs(raw[name]):
        yield each
        yield from _ancestors(each, raw)


def _semantic_models(name: str, raw: dict[str, dict[str, Any]]) -> Iterator[str]:
    for each in [name, *_ancestors(name, raw)]:
        aggregation = raw[each]["type_params"].get("metric_aggregation_params")
        if aggregation:
            yield aggregation["semantic_model"]


def _dimensions(model: dict[str, Any], models: dict[str, dict[str, Any]]) -> dict[str, Dimension]:
    """A model's own categories, and those of every model that one join of its entities reaches."""
    found = dict(_categories(model))
    entities = {entity["name"] for entity in model["entities"]}
    for other in models.values():
        key = _key(other)
        if other is not model and key in entities:
            found.update(_categories(other))
    return found


def _key(model: dict[str, Any]) -> str | None:
    keys = [entity["name"] for entity in model["entities"] if entity["type"] == "primary"]
    return keys[0] if keys else model.get("primary_entity")


def _categories(model: dict[str, Any]) -> Iterator[tuple[str, Dimension]]:
    key = _key(model)
    for dimension in model["dimensions"]:
        if dimension["type"] == "categorical":
            qualified = f"{key}__{dimension['name']}"
            yield (
                qualified,
                Dimension(
                    name=dimension["name"],
                    qualified=qualified,
                    label=dimension["label"] or dimension["name"],
                    description=(dimension["description"] or "").strip(),
                    meta=(dimension.get("config") or {}).get("meta") or {},
                ),
            )
