"""A release plan for Flagger: Canary and MetricTemplates; Services and the stable Deployment are of its own making."""

from __future__ import annotations

import math

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan
from serving.runtime.kubernetes import deployment as parts
from serving.runtime.kubernetes import queries, routes
from serving.runtime.kubernetes.argo import gated_steps
from serving.runtime.kubernetes.deployed import Deployed, Object, Rendered, metadata, object_name, record

API = "flagger.app/v1beta1"
PROVIDERS = {"istio": "istio", "nginx": "nginx", "none": "kubernetes"}
# Of all checks of a release together; a check without an answer is a failed one.
FAILED_CHECKS = 3
COOKIE_SECONDS = 86400


def _checked(plan: ReleasePlan, deployed: Deployed) -> bool:
    """Whether users' requests reach the new version before it is promoted, so that there is something to compare."""
    return plan.strategy in ("canary", "rolling", "ab") and deployed.router != "none"


def _checks(plan: ReleasePlan, deployed: Deployed) -> tuple[list[queries.Check], list[str]]:
    (_, least), *_ = gated_steps(plan, deployed)
    return queries.checks(plan, deployed, str(least))


def _interval(plan: ReleasePlan, deployed: Deployed) -> int:
    """Seconds between two checks, which is how long a step lasts."""
    if plan.strategy != "canary":
        return deployed.interval_s
    return max(deployed.interval_s, *(math.ceil(step.min_seconds) for step, _ in gated_steps(plan, deployed)))


def metric_templates(plan: ReleasePlan, deployed: Deployed) -> list[Object]:
    """One query a gate."""
    found, _ = _checks(plan, deployed)
    return [
        {
            "apiVersion": API,
            "kind": "MetricTemplate",
            "metadata": metadata(f"{object_name(plan)}-{check.name}", plan, deployed),
            "spec": {"provider": {"type": "prometheus", "address": deployed.prometheus}, "query": check.query},
        }
        for check in found
    ]


def _webhooks(deployed: Deployed, kinds: tuple[str, ...]) -> list[Object]:
    paths = {"rollback": "rollback/check"}
    return [
        {"name": kind, "type": kind, "url": f"{deployed.gates}/{paths.get(kind, 'gate/check')}", "timeout": "10s"}
        for kind in kinds
    ]


def _analysis(plan: ReleasePlan, deployed: Deployed, engine: bool) -> Object:
    found: Object = {"interval": f"{_interval(plan, deployed)}s", "threshold": FAILED_CHECKS}
    if deployed.router == "none" or plan.strategy in ("blue_green", "shadow"):
        found["iterations"] = 1
    else:
        weights = [step.weight for step, _ in gated_steps(plan, deployed)]
        found |= {"stepWeights": weights, "maxWeight": weights[-1]}
    if plan.strategy == "shadow":
        pairs = max(1, math.ceil(plan.deadline_s / deployed.interval_s))
        found |= {"mirror": True, "mirrorWeight": plan.shadow.percent, "iterations": pairs}
    if plan.strategy == "ab" and plan.segments.by == "cookie":
        found["sessionAffinity"] = {"cookieName": plan.segments.name, "maxAge": COOKIE_SECONDS}
        found["sessionAffinity"]["primaryCookieName"] = f"{plan.segments.name}-primary"
    if not engine and _checked(plan, deployed):
        checks, _ = _checks(plan, deployed)
        found["metrics"] = [
            {
                "name": check.gate,
                "templateRef": {"name": f"{object_name(plan)}-{check.name}", "namespace": deployed.namespace},
                "thresholdRange": {"max": check.limit},
                "interval": f"{deployed.window_s}s",
            }
            for check in checks
        ]
    if engine:
        found["webhooks"] = _webhooks(deployed, ("confirm-traffic-increase", "confirm-promotion", "rollback"))
    elif _waits(plan):
        found["webhooks"] = _webhooks(deployed, ("confirm-promotion", "rollback"))
    return found


def _waits(plan: ReleasePlan) -> bool:
    """Whether what decides is nothing that Flagger can measure."""
    return plan.strategy in ("ab", "shadow")


def canary(plan: ReleasePlan, deployed: Deployed, engine: bool = False) -> Object:
    """The Canary over the model's Deployment."""
    name = object_name(plan)
    low = parts.replicas(plan, deployed)
    service: Object = {"port": deployed.port, "targetPort": "http", "portName": "http"}
    if deployed.host and deployed.router == "istio":
        service["hosts"] = [deployed.host]
    spec: Object = {
        "provider": PROVIDERS[deployed.router],
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "autoscalerRef": {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "name": name,
            "primaryScalerReplicas": {"minReplicas": low, "maxReplicas": max(low, deployed.max_replicas)},
        },
        "progressDeadlineSeconds": max(600, math.ceil(plan.ready_timeout_s) * 2),
        "service": service,
        "analysis": _analysis(plan, deployed, engine),
    }
    if deployed.router == "nginx":
        spec["ingressRef"] = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": name}
    return {"apiVersion": API, "kind": "Canary", "metadata": metadata(name, plan, deployed), "spec": spec}


def unexpressed(plan: ReleasePlan, deployed: Deployed, engine: bool = False) -> list[str]:
    """What Flagger does not do of what the plan says."""
    found = [
        "The smoke test is not made: Flagger runs none itself; a pre-rollout webhook of yours can.",
        "keep_previous is not kept: Flagger copies the new version over the stable one and scales its pods to zero.",
    ]
    if engine:
        return [
            f"Flagger judges nothing: each step and the promotion wait until somebody who holds the evidence opens the "
            f"gate ({deployed.gates}/gate/open), and end when they open {deployed.gates}/rollback/open.",
            *found,
        ]
    if _checked(plan, deployed):
        found += queries.sentences(plan, "Flagger")
        found += _checks(plan, deployed)[1]
        found += [
            f"There is no hold: after {FAILED_CHECKS} failed checks Flagger rolls back, and a check that too few "
            f"requests leave without an answer is a failed one. deadline_s {plan.deadline_s:g} is not kept.",
            f"All steps last as long as the longest: {_interval(plan, deployed)} s. Their own min_requests and the "
            f"plan's min_requests {plan.min_requests} are not counted; the first step's are.",
        ]
    else:
        found.append("The gates are not checked: the new version answers no user's request before it has all of them.")
        if plan.strategy in ("canary", "rolling"):
            found.append("The steps are not made: without a router all traffic moves at once.")
    if plan.shadow_first:
        found.append("The shadow before the first step is not made: only Clearway's own engine copies requests first.")
    return [*found, *_of_strategy(plan)]


def _of_strategy(plan: ReleasePlan) -> list[str]:
    if plan.strategy == "rolling":
        return ["Servers are not replaced one by one: the steps are weights, i of n servers."]
    if plan.strategy == "ab":
        told = plan.segments.by == "cookie"
        return [
            f"Users are told apart by a cookie {plan.segments.name} of Flagger's own; who has none is drawn anew."
            if told
            else f"Users are not told apart by the header {plan.segments.name}: requests are split by weight, each "
            "anew, so that no user stays.",
            f"A request counts, not a user once; min_users {plan.segments.min_users} is not counted. What users do "
            "afterwards is not compared: the promotion waits at a gate that a person or Clearway opens.",
        ]
    if plan.strategy == "shadow":
        return [
            "Pairs of answers are not compared (min_pairs, tolerance, min_agreement): read them from the events. The "
            "promotion waits at a gate that a person or Clearway opens."
        ]
    return []


def _refuse(plan: ReleasePlan, deployed: Deployed, engine: bool) -> None:
    if (engine or _waits(plan)) and deployed.gates is None:
        raise DeclarationError(
            "Flagger waits for a decision that is not its own only at a gate, and gates names none",
            untouched="the cluster.",
            todo="install Flagger's load tester and give its address as gates: http://flagger-loadtester.<namespace>.",
        )
    if _waits(plan) and deployed.router != "istio":
        raise DeclarationError(
            f"Flagger does a {plan.strategy} release through Istio only, not by router {deployed.router}",
            untouched="the cluster.",
            todo="render with router: istio, or choose another strategy.",
        )


def render(plan: ReleasePlan, deployed: Deployed, *, engine: bool = False) -> Rendered:
    """Everything that Flagger needs, with the sentences.

    Args:
        engine: each step and the promotion wait at a gate, which whoever holds the evidence opens.

    Raises:
        DeclarationError: the plan needs a gate, or Istio, and the description has none.
    """
    _refuse(plan, deployed, engine)
    said = unexpressed(plan, deployed, engine)
    moved = canary(plan, deployed, engine)
    moved["metadata"]["annotations"] = record(plan, said)
    objects: list[Object] = [
        parts.deployment(plan, deployed),
        *parts.guards(plan, deployed, scaled=("apps/v1", "Deployment"), primary=True),
    ]
    if deployed.router == "nginx":
        to = {"name": object_name(plan), "port": {"number": deployed.port}}
        objects.append(routes.ingress(plan, deployed, "nginx", to))
    if not engine and _checked(plan, deployed):
        objects += metric_templates(plan, deployed)
    return Rendered([*objects, moved], said)
