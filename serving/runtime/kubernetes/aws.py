"""A release plan for AWS: an Ingress of the load balancer controller, whose weights Argo Rollouts moves."""

from __future__ import annotations

import json
from collections.abc import Mapping

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan
from serving.runtime.kubernetes import argo, routes
from serving.runtime.kubernetes.deployed import Deployed, Object, Rendered, object_name

PREFIX = "alb.ingress.kubernetes.io"
STICKY_SECONDS = 86400


def forward(weights: Mapping[str, int], port: int, sticky_s: int | None = None) -> str:
    """Value of the annotation ``actions.<name>``: requests to Services by weight.

    Args:
        weights: by Service, together more than 0.
        sticky_s: seconds for which a caller stays with the Service that answered first; None: not at all.
    """
    groups = [
        {"ServiceName": name, "ServicePort": str(port), "Weight": weight} for name, weight in sorted(weights.items())
    ]
    config: Object = {"TargetGroups": groups}
    if sticky_s is not None:
        config["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": sticky_s}
    return json.dumps({"Type": "forward", "ForwardConfig": config}, sort_keys=True)


def _sticky(plan: ReleasePlan) -> int | None:
    return STICKY_SECONDS if plan.strategy == "ab" else None


def _annotations(plan: ReleasePlan, deployed: Deployed) -> dict[str, str]:
    """Of the Ingress: where the load balancer stands, how it asks for health, and that stable has all traffic."""
    weights = {argo.stable_name(plan): 100, argo.canary_name(plan): 0}
    drain = max(1, min(3600, round(plan.drain_timeout_s)))
    return {
        f"{PREFIX}/scheme": "internal",
        # Pods themselves are the targets: a weight is then exact, and a pod that is not ready is none.
        f"{PREFIX}/target-type": "ip",
        f"{PREFIX}/listen-ports": json.dumps([{"HTTP": 80}]),
        f"{PREFIX}/backend-protocol": "HTTP",
        f"{PREFIX}/healthcheck-path": "/readyz" if deployed.kind == "tabular" else "/health",
        f"{PREFIX}/healthcheck-interval-seconds": "10",
        f"{PREFIX}/healthcheck-timeout-seconds": "6",
        f"{PREFIX}/success-codes": "200",
        f"{PREFIX}/target-group-attributes": f"deregistration_delay.timeout_seconds={drain}",
        f"{PREFIX}/actions.{object_name(plan)}": forward(weights, deployed.port, _sticky(plan)),
    }


def ingress(plan: ReleasePlan, deployed: Deployed) -> Object:
    """The Ingress. Where weights move, its one rule asks the annotation where requests go."""
    name = object_name(plan)
    found = _annotations(plan, deployed)
    if plan.strategy in ("blue_green", "rolling"):
        del found[f"{PREFIX}/actions.{name}"]
        switched = argo.stable_name(plan) if plan.strategy == "blue_green" else name
        return routes.ingress(plan, deployed, "alb", {"name": switched, "port": {"name": "http"}}, **found)
    return routes.ingress(plan, deployed, "alb", {"name": name, "port": {"name": "use-annotation"}}, **found)


def render(plan: ReleasePlan, deployed: Deployed, *, engine: bool = False) -> Rendered:
    """Argo's objects with the load balancer as the router, and the Ingress.

    Raises:
        DeclarationError: a shadow release, as the load balancer copies no requests; or the description does not name
            the load balancer's subnets, so that the network policy would keep it out.
    """
    if not deployed.caller_cidrs:
        raise DeclarationError(
            "caller_cidrs names no subnet, so the network policy would keep the load balancer out",
            untouched="the cluster.",
            todo="name the subnets that the load balancer stands in, as CIDRs.",
        )
    alb: Object = {"ingress": object_name(plan), "rootService": object_name(plan), "servicePort": deployed.port}
    if (sticky := _sticky(plan)) is not None:
        alb["stickinessConfig"] = {"enabled": True, "durationSeconds": sticky}
    found = argo.render(plan, deployed, engine=engine, alb=alb)
    said = [*found.unexpressed, "The load balancer itself has no gates and no steps: Argo Rollouts writes its weights."]
    if deployed.kind == "llm":
        said.append(
            "The load balancer asks /health, which a server that makes no tokens passes; only ready pods are its "
            "targets, and those made one."
        )
    if plan.strategy in ("blue_green", "rolling"):
        said.append(
            "A switched selector is not known to the load balancer at once: run Argo's controller with "
            "--aws-verify-target-group, or requests meet pods that are gone."
        )
    moving = found.objects[-1]
    moving["metadata"]["annotations"]["clearway/unexpressed"] = "\n".join(said)
    return Rendered([*found.objects[:-1], ingress(plan, deployed), moving], said)
