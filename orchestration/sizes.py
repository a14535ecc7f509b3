"""Resources and places of steps' pods by the tags of their assets: declared in deploy/sizes.yaml, applied here only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, model_validator

from assets.declared import Declared, read
from serving.errors import DeclarationError
from serving.settings import PROJECT

FILE = PROJECT / "orchestration" / "deploy" / "sizes.yaml"
TAG, HEAVY, HEAVY_SIZE = "clearway/size", "clearway/heavy", "large"
# Of one run: a pod a step would otherwise be asked of the cluster for every asset of a range at once.
STEPS_AT_ONCE = 8


class Size(Declared):
    """CPU and memory of a step in Kubernetes' notation, GPUs, and where such pods run."""

    cpu: str
    memory: str
    gpus: int = 0
    image: str | None = Field(default=None, description="of the pods; none: the run's own")
    node_selector: dict[str, str] = Field(default={})
    tolerations: tuple[dict[str, str], ...] = ()

    def step(self) -> dict[str, Any]:
        """As dagster-k8s takes it, in a tag ``dagster-k8s/config`` or from the executor."""
        gpus = {"nvidia.com/gpu": str(self.gpus)} if self.gpus else {}
        resources = {
            "requests": {"cpu": self.cpu, "memory": self.memory, **gpus},
            "limits": {"memory": self.memory, **gpus},
        }
        places = {"node_selector": dict(self.node_selector), "tolerations": [dict(t) for t in self.tolerations]}
        return {
            "container_config": {"resources": resources, **({"image": self.image} if self.image else {})},
            "pod_spec_config": {key: value for key, value in places.items() if value},
        }

    def pod(self, image: str) -> dict[str, Any]:
        """``base_pod_spec`` of a pod that a step starts by Dagster Pipes."""
        found = self.step()
        return {
            "containers": [{**found["container_config"], "name": "pipes", "image": image}],
            **found["pod_spec_config"],
        }


class Sizes(Declared):
    """All sizes, from the smallest to the largest."""

    default: str
    sizes: dict[str, Size]

    @model_validator(mode="after")
    def _known(self) -> Sizes:
        for name in (self.default, HEAVY_SIZE):
            if name not in self.sizes:
                raise ValueError(f"sizes: {name} is not among them, found {', '.join(self.sizes)}")
        return self

    def of(self, what: str, tags: Iterable[Mapping[str, str]]) -> str:
        """The largest size that the tags ask for.

        Raises:
            DeclarationError: a tag names a size that is not declared.
        """
        order = list(self.sizes)
        asked = [t.get(TAG, HEAVY_SIZE if t.get(HEAVY) == "true" else self.default) for t in tags] or [self.default]
        for name in asked:
            if name not in self.sizes:
                raise DeclarationError(
                    f"{what}: tag {TAG} is {name!r}, {FILE.name} declares {', '.join(order)}",
                    untouched="everything; nothing was loaded.",
                    todo=f"declare the size in {FILE.name}, or name one of these.",
                )
        return max(asked, key=order.index)


def read_sizes(file: Path = FILE) -> Sizes:
    """Raises DeclarationError: the file, each field and what was expected of it."""
    return read(file, Sizes)


def by_step(definitions: dg.Definitions, sizes: Sizes) -> dict[str, str]:
    """Size of each step by the name of its op; steps of the default size are left out."""
    found = {}
    for item in definitions.assets or ():
        if isinstance(item, dg.AssetsDefinition) and item.is_executable:
            name = item.node_def.name
            size = sizes.of(name, [spec.tags for spec in item.specs])
            if size != sizes.default:
                found[name] = size
    return found


def executor_config(definitions: dg.Definitions, sizes: Sizes) -> dict[str, Any]:
    """Configuration of ``k8s_job_executor``: the default size for every step, the others by name."""
    return {
        "max_concurrent": STEPS_AT_ONCE,
        "step_k8s_config": sizes.sizes[sizes.default].step(),
        "per_step_k8s_config": {op: sizes.sizes[size].step() for op, size in by_step(definitions, sizes).items()},
    }
