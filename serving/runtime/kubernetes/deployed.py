"""Where and how a model runs on a cluster: what a release plan does not say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan
from serving.runtime.arms import arm_name

Object = dict[str, Any]


class Resources(BaseModel):
    """CPU and memory of one server, in Kubernetes' own notation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str = Field(default="500m", description="requested; there is no limit, which would only add latency")
    memory: str = Field(default="1Gi", description="requested, and the limit: above it the server is killed")
    gpus: int = Field(default=0, ge=0, description="nvidia.com/gpu")


class Deployed(BaseModel):
    """One model on one cluster. Every name in it is of something that exists there already, or of an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(min_length=1, description="with a tag or digest that is never reused")
    namespace: str = Field(default="clearway", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    kind: Literal["tabular", "llm"] = "tabular"
    port: int = Field(default=8000, ge=1024, le=65535, description="the server's, and the Services'")
    replicas: int = Field(default=2, ge=1, description="at least; a plan that names more gets more")
    max_replicas: int = Field(default=6, ge=1, description="the autoscaler's upper bound")
    target_cpu_percent: int = Field(default=60, ge=1, le=100, description="of the request, at which to add a server")
    resources: Resources = Resources()
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    settings_secret: str = Field(default="clearway-settings", description="Secret with the CLEARWAY_ settings")
    home_claim: str = Field(default="clearway-home", description="PersistentVolumeClaim (ReadWriteMany) with the home")
    callers: tuple[str, ...] = Field(
        default=("istio-system", "monitoring"),
        description="other namespaces that may reach the server: those of the gateway or mesh, and of Prometheus",
    )
    caller_cidrs: tuple[str, ...] = Field(
        default=(), description="addresses outside the cluster that may, such as the subnets of a cloud's load balancer"
    )
    prometheus: str = Field(default="http://prometheus.monitoring:9090", pattern=r"^https?://")
    metric_labels: dict[str, str] = Field(
        default={}, description="labels that Prometheus adds to the targets and that queries select by, e.g. namespace"
    )
    interval_s: int = Field(default=30, ge=1, description="between two measurements of an analysis")
    window_s: int = Field(default=120, ge=2, description="requests of so many seconds are compared; 4 scrapes or more")
    router: Literal["istio", "nginx", "none"] = Field(
        default="istio", description="what splits traffic for Argo and Flagger; none: by the number of pods"
    )
    host: str | None = Field(default=None, description="public host name of the Ingress or VirtualService")
    gates: str | None = Field(
        default=None, pattern=r"^https?://", description="address of Flagger's load tester, whose gates can be opened"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Deployed:
        if self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below replicas {self.replicas}")
        return self


class _Readable(yaml.SafeDumper):
    """Queries and sentences as blocks, and no aliases, which not every tool that reads manifests knows."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


@dataclass(frozen=True)
class Rendered:
    """Objects to apply, in this order, and what they do not do of what the plan says, a sentence each."""

    objects: list[Object]
    unexpressed: list[str]

    def text(self) -> str:
        """YAML documents; before them, as comments, the sentences, which the object that moves traffic has too."""
        lines = ["# Rendered by Clearway from a release plan. What it does not do of what the plan says:"]
        lines += [f"# - {sentence}" for sentence in self.unexpressed] or ["# - nothing."]
        documents = yaml.dump_all(self.objects, Dumper=_Readable, sort_keys=False, width=120, explicit_start=True)
        return "\n".join(lines) + "\n" + documents


def object_name(plan: ReleasePlan) -> str:
    """The model's name as a DNS label: the name of the Deployment and the stem of all others."""
    return plan.model.lower().replace("_", "-")


def pod_labels(plan: ReleasePlan) -> dict[str, str]:
    """Labels of the pods; model, version and arm are those that the model server's own metrics carry."""
    return {
        "app": object_name(plan),
        "app.kubernetes.io/part-of": "clearway",
        "model": plan.model,
        "version": plan.version,
        "arm": arm_name(plan.model, plan.version),
    }


def metadata(name: str, plan: ReleasePlan, deployed: Deployed, **annotations: str) -> Object:
    """``metadata`` of an object that is not a pod."""
    found: Object = {
        "name": name,
        "namespace": deployed.namespace,
        "labels": {"app.kubernetes.io/name": object_name(plan), "app.kubernetes.io/part-of": "clearway"},
    }
    if annotations:
        found["annotations"] = annotations
    return found


def record(plan: ReleasePlan, unexpressed: list[str]) -> dict[str, str]:
    """Annotations that keep who asked for what and why, and what the target does not do."""
    found = {
        "clearway/unexpressed": "\n".join(unexpressed),
        "clearway/version": plan.version,
        "clearway/requested-by": plan.requested_by,
        "clearway/reason": plan.reason,
        "clearway/evidence": json.dumps(plan.evidence, sort_keys=True, default=str) if plan.evidence else "",
    }
    return {key: value for key, value in found.items() if value}


def read_deployed(file: Path) -> Deployed:
    """A description from a YAML file.

    Raises:
        DeclarationError: names the file, each field and what was expected of it.
    """
    try:
        return Deployed.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise DeclarationError(f"{file}: {error}", untouched="the cluster.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise DeclarationError(
            f"{file}: {lines}", untouched="the cluster.", todo="correct it and render again."
        ) from error
