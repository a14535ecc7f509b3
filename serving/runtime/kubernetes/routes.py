"""What users' requests go through: an Ingress, or a VirtualService of Istio."""

from __future__ import annotations

from collections.abc import Mapping

from serving.rollout.plan import ReleasePlan
from serving.runtime.kubernetes.deployed import Deployed, Object, metadata, object_name


def ingress(plan: ReleasePlan, deployed: Deployed, of: str, to: Object, **annotations: str) -> Object:
    """An Ingress of class ``of`` with one rule, every path of the host (or of any), to the Service ``to``.

    Args:
        to: ``name`` and ``port`` of a Service.
    """
    rule: Object = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": to}}]}}
    if deployed.host:
        rule = {"host": deployed.host, **rule}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(object_name(plan), plan, deployed, **annotations),
        "spec": {"ingressClassName": of, "rules": [rule]},
    }


def virtual_service(plan: ReleasePlan, deployed: Deployed, weights: Mapping[str, int]) -> Object:
    """Istio's route ``primary`` from the model's name, and its host, to Services by weight."""
    name = object_name(plan)
    route = [
        {"destination": {"host": service, "port": {"number": deployed.port}}, "weight": weight}
        for service, weight in weights.items()
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": metadata(name, plan, deployed),
        "spec": {
            "hosts": [name, *([deployed.host] if deployed.host else [])],
            "http": [{"name": "primary", "route": route}],
        },
    }
