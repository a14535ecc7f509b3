"""A release plan for Argo Rollouts: Rollout, AnalysisTemplates, Services, and what splits the traffic."""

from __future__ import annotations

import math
from typing import Any

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan, Step, rolling_weights
from serving.runtime.kubernetes import deployment as parts
from serving.runtime.kubernetes import queries, routes
from serving.runtime.kubernetes.deployed import Deployed, Object, Rendered, metadata, object_name, record

API = "argoproj.io/v1alpha1"
LEAST = "min-requests"
# One bad look in two is noise more often than not; a broken version gives two in a row.
BAD_LOOKS, GOOD_LOOKS = 1, 2
# Beside the steps it is looked at far more often.
BAD_LOOKS_BESIDE = 3
UNLIMITED = 2**31 - 1
ONE_DAY_S = 86400


def stable_name(plan: ReleasePlan) -> str:
    return f"{object_name(plan)}-stable"


def canary_name(plan: ReleasePlan) -> str:
    return f"{object_name(plan)}-canary"


def gated_steps(plan: ReleasePlan, deployed: Deployed) -> tuple[tuple[Step, int], ...]:
    """Steps below 100 with the requests that the new version has answered, all in all, before each may end."""
    if plan.strategy == "rolling":
        count = parts.replicas(plan, deployed)
        steps = tuple(Step(weight=weight) for weight in rolling_weights(count)[:-1])
    else:
        steps = plan.steps[:-1]
    found, sofar = [], 0
    for number, step in enumerate(steps, start=1):
        sofar += step.min_requests
        found.append((step, max(sofar, plan.min_requests) if number == len(steps) else sofar))
    return tuple(found)


def _measures(plan: ReleasePlan, deployed: Deployed, looks: int | None) -> list[Object]:
    """Metrics of an AnalysisTemplate. ``looks``: stop after so many, undecided; None: look on until told to stop."""
    found, _ = queries.checks(plan, deployed, f"{{{{args.{LEAST}}}}}")
    if looks is None:
        limits: Object = {"failureLimit": BAD_LOOKS_BESIDE, "inconclusiveLimit": UNLIMITED}
    else:
        limits = {"count": looks, "inconclusiveLimit": looks, "consecutiveSuccessLimit": GOOD_LOOKS}
        limits["failureLimit"] = BAD_LOOKS
    return [
        {
            "name": check.name,
            "interval": f"{deployed.interval_s}s",
            # No answer is neither: too few requests decide nothing.
            "successCondition": f"len(result) > 0 && result[0] <= {check.limit:g}",
            "failureCondition": f"len(result) > 0 && result[0] > {check.limit:g}",
            **limits,
            "provider": {"prometheus": {"address": deployed.prometheus, "query": check.query}},
        }
        for check in found
    ]


def _template(name: str, plan: ReleasePlan, deployed: Deployed, measures: list[Object], **more: Any) -> Object:
    return {
        "apiVersion": API,
        "kind": "AnalysisTemplate",
        "metadata": metadata(name, plan, deployed),
        "spec": {**more, "metrics": measures},
    }


def _smoke(plan: ReleasePlan, deployed: Deployed) -> Object:
    """The plan's smoke test as a Job beside the new version, before it gets traffic."""
    command = [
        *("python", "-m", "serving.runtime.kubernetes.smoke", "--kind", deployed.kind),
        *("--url", f"http://{canary_name(plan)}:{deployed.port}", "--model", plan.model, "--version", plan.version),
        *("--smoke", plan.smoke.model_dump_json()),
    ]
    container = {
        "name": "smoke",
        "image": deployed.image,
        "command": command,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    job = {"backoffLimit": 0, "activeDeadlineSeconds": 300, "template": {"spec": pod}}
    measure = {"name": "smoke", "count": 1, "failureLimit": 0, "provider": {"job": {"spec": job}}}
    return _template(f"{object_name(plan)}-smoke", plan, deployed, [measure])


def _use(name: str, **args: str) -> Object:
    found: Object = {"templates": [{"templateName": name}]}
    if args:
        found["args"] = [{"name": key, "value": value} for key, value in args.items()]
    return found


def _by_pods(plan: ReleasePlan, deployed: Deployed, alb: Object | None) -> bool:
    """Whether the weight is a share of the pods, and no router splits: servers are then replaced one by one."""
    return plan.strategy == "rolling" or (alb is None and deployed.router == "none")


def _steps(plan: ReleasePlan, deployed: Deployed, engine: bool, by_pods: bool) -> list[Object]:
    name = object_name(plan)
    if engine:
        paused: list[Object] = []
        for step, _ in gated_steps(plan, deployed):
            paused += [{"setWeight": step.weight}, {"pause": {}}]
        return paused
    # Where pods are the weight, a started one is asked by users at once.
    tried: list[Object] = [] if by_pods else [{"setCanaryScale": {"replicas": 1}}, {"analysis": _use(f"{name}-smoke")}]
    if plan.strategy == "shadow":
        mirror = {"name": "shadow", "percentage": plan.shadow.percent, "match": [{"path": {"prefix": "/"}}]}
        return [
            *tried,
            {"setCanaryScale": {"replicas": parts.replicas(plan, deployed)}},
            {"setMirrorRoute": mirror},
            {"pause": {}},
            {"setMirrorRoute": {"name": "shadow"}},
        ]
    steps = [*tried, *([] if by_pods else [{"setCanaryScale": {"matchTrafficWeight": True}}])]
    for step, least in gated_steps(plan, deployed):
        steps.append({"setWeight": step.weight})
        if step.min_seconds:
            steps.append({"pause": {"duration": f"{math.ceil(step.min_seconds)}s"}})
        steps.append({"analysis": _use(f"{name}-gates", **{LEAST: str(least)})})
    if plan.strategy == "ab":
        steps.append({"pause": {}})
    return steps


def _routing(plan: ReleasePlan, deployed: Deployed, alb: Object | None) -> Object:
    if _by_pods(plan, deployed, alb):
        return {"maxSurge": 1, "maxUnavailable": 0}
    if alb is not None:
        return {"trafficRouting": {"alb": alb}}
    if deployed.router == "nginx":
        return {"trafficRouting": {"nginx": {"stableIngress": object_name(plan)}}}
    routing: Object = {"istio": {"virtualService": {"name": object_name(plan), "routes": ["primary"]}}}
    if plan.strategy == "shadow":
        routing["managedRoutes"] = [{"name": "shadow"}]
    return {"trafficRouting": routing}


def _strategy(plan: ReleasePlan, deployed: Deployed, engine: bool, alb: Object | None) -> Object:
    name = object_name(plan)
    keep = {"scaleDownDelaySeconds": ONE_DAY_S if plan.keep_previous else 30}
    if plan.strategy == "blue_green":
        judged = {"autoPromotionEnabled": False} if engine else {"prePromotionAnalysis": _use(f"{name}-smoke")}
        services = {"activeService": stable_name(plan), "previewService": canary_name(plan)}
        return {"blueGreen": {**services, **judged, **keep}}
    routing = _routing(plan, deployed, alb)
    canary: Object = {"canaryService": canary_name(plan), "stableService": stable_name(plan), **routing}
    if "trafficRouting" in routing:
        canary |= keep
    canary["steps"] = _steps(plan, deployed, engine, _by_pods(plan, deployed, alb))
    if not engine and plan.strategy != "shadow":
        # Between the analyses of the steps too: a version that breaks during a pause leaves then.
        (_, least), *_ = gated_steps(plan, deployed)
        canary["analysis"] = {**_use(f"{name}-watch", **{LEAST: str(least)}), "startingStep": 1}
    return {"canary": canary}


def rollout(plan: ReleasePlan, deployed: Deployed, engine: bool = False, alb: Object | None = None) -> Object:
    """The Rollout; the pods are those of the Deployment, which itself runs none.

    Args:
        engine: only weights and pauses without end, which whoever holds the evidence ends.
        alb: ``trafficRouting.alb`` instead of the description's router.
    """
    name = object_name(plan)
    spec: Object = {
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": 600 + math.ceil(plan.ready_timeout_s),
        "selector": {"matchLabels": {"app": name}},
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "strategy": _strategy(plan, deployed, engine, alb),
    }
    return {"apiVersion": API, "kind": "Rollout", "metadata": metadata(name, plan, deployed), "spec": spec}


def _split(plan: ReleasePlan, deployed: Deployed, alb: Object | None) -> list[Object]:
    """What users' requests go through."""
    if plan.strategy == "blue_green":
        return []
    stable, new, asked = stable_name(plan), canary_name(plan), parts.service(object_name(plan), plan, deployed)
    if alb is not None or _by_pods(plan, deployed, alb):
        return [asked]
    if deployed.router == "nginx":
        return [routes.ingress(plan, deployed, "nginx", {"name": stable, "port": {"name": "http"}})]
    return [asked, routes.virtual_service(plan, deployed, {stable: 100, new: 0})]


def _looks(plan: ReleasePlan, deployed: Deployed) -> int:
    """Measurements of one step: the plan's deadline, divided over the steps."""
    each = plan.deadline_s / max(1, len(gated_steps(plan, deployed)))
    return max(GOOD_LOOKS + BAD_LOOKS, int(each // deployed.interval_s))


def unexpressed(plan: ReleasePlan, deployed: Deployed, engine: bool, alb: Object | None) -> list[str]:
    """What Argo Rollouts does not do of what the plan says."""
    found: list[str] = []
    if engine:
        found.append(
            "Every pause is without end: nothing moves until somebody who holds the evidence promotes the step "
            "(kubectl argo rollouts promote, once a step) or aborts. Argo judges nothing and makes no smoke test."
        )
    elif plan.strategy in ("blue_green", "shadow"):
        found.append("The gates are not checked: the new version answers no user's request before it has all of them.")
    else:
        found += queries.sentences(plan, "Argo Rollouts")
        found += queries.checks(plan, deployed, "0")[1]
        found.append(
            f"Hold is a pause of the Rollout: a step that is undecided after {_looks(plan, deployed)} looks (the "
            "deadline, divided over the steps) waits for a person, and the traffic stays as it is."
        )
    if not engine and plan.strategy != "blue_green" and _by_pods(plan, deployed, alb):
        found.append("The smoke test is not made: without a router a started pod is asked by users at once.")
    return [*found, *_of_strategy(plan, sticky=alb is not None)]


def _of_strategy(plan: ReleasePlan, sticky: bool) -> list[str]:
    found = []
    if plan.strategy == "ab":
        stays = "and kept on an arm by the load balancer's cookie" if sticky else "each anew, so that no user stays"
        found += [
            f"Users are not told apart by the {plan.segments.by} {plan.segments.name}: requests are split by weight, "
            f"{stays}. A request counts, not a user once; min_users {plan.segments.min_users} is not counted.",
            "What users do afterwards is not compared: the last pause is without end; a person or Clearway decides.",
        ]
    if plan.strategy == "shadow":
        found.append(
            "Pairs of answers are not compared (min_pairs, tolerance, min_agreement): read them from the events. The "
            "mirror's pause is without end."
        )
    if plan.shadow_first:
        found.append("The shadow before the first step is not made: only Clearway's own engine copies requests first.")
    if plan.keep_previous and plan.strategy != "rolling":
        found.append("The previous version is kept for a day, not until the next release completes.")
    return found


def render(plan: ReleasePlan, deployed: Deployed, *, engine: bool = False, alb: Object | None = None) -> Rendered:
    """Everything that Argo Rollouts needs, with the sentences.

    Args:
        engine: see :func:`rollout`.
        alb: see :func:`rollout`; the Ingress is then somebody else's.

    Raises:
        DeclarationError: a shadow release, and a router that cannot copy requests.
    """
    if plan.strategy == "shadow" and (alb is not None or deployed.router != "istio"):
        raise DeclarationError(
            "Argo Rollouts copies requests through Istio only, so this shadow release would get none",
            untouched="the cluster.",
            todo="render with router: istio, or choose another strategy.",
        )
    name = object_name(plan)
    said = unexpressed(plan, deployed, engine, alb)
    objects: list[Object] = [
        parts.deployment(plan, deployed, 0),
        *(parts.service(n, plan, deployed) for n in (stable_name(plan), canary_name(plan))),
        *parts.guards(plan, deployed, scaled=(API, "Rollout")),
        *_split(plan, deployed, alb),
    ]
    moving = rollout(plan, deployed, engine, alb)
    moving["metadata"]["annotations"] = record(plan, said)
    if not engine:
        if plan.strategy == "blue_green" or not _by_pods(plan, deployed, alb):
            objects.append(_smoke(plan, deployed))
        if plan.strategy not in ("blue_green", "shadow"):
            asked = {"args": [{"name": LEAST}]}
            gates = _measures(plan, deployed, _looks(plan, deployed))
            objects.append(_template(f"{name}-gates", plan, deployed, gates, **asked))
            objects.append(_template(f"{name}-watch", plan, deployed, _measures(plan, deployed, None), **asked))
    return Rendered([*objects, moving], said)
