"""The Deployment of a model's server and what guards it: disruption budget, autoscaler, network policy, Services."""

from __future__ import annotations

import math

from serving.rollout.plan import ReleasePlan
from serving.runtime.arms import arm_name
from serving.runtime.kubernetes.deployed import Deployed, Object, metadata, object_name, pod_labels

HOME = "/var/lib/clearway"
MODULES = {"tabular": "serving.models.server", "llm": "serving.llm.launch"}
STARTUP_PERIOD_S = 5
# A removed endpoint is still sent requests until every proxy has heard of it.
SETTLE_S = 5
# One token takes as long as the queue before it: an overloaded server must not be taken for a broken one.
COMPLETION_S = 30


def replicas(plan: ReleasePlan, deployed: Deployed) -> int:
    """Servers of a version at rest."""
    return max(plan.replicas, deployed.replicas)


def _probes(plan: ReleasePlan, deployed: Deployed) -> Object:
    """Startup, readiness and liveness of the container.

    A language model is ready when it has just made a token: vLLM's /health passes for a server that dies at its first
    request. A model server's /readyz reads the online features as a prediction does.
    """
    attempts = max(1, math.ceil(plan.ready_timeout_s / STARTUP_PERIOD_S))
    if deployed.kind == "tabular":
        ready: Object = {"httpGet": {"path": "/readyz", "port": "http"}}
        readiness = {**ready, "periodSeconds": 5, "timeoutSeconds": 6, "failureThreshold": 2}
        live = "/healthz"
    else:
        url = f"http://127.0.0.1:{deployed.port}"
        command = ["python", "-m", "serving.runtime.kubernetes.ready", "--url", url, "--model", plan.model]
        ready = {"exec": {"command": [*command, "--timeout", str(COMPLETION_S)]}}
        readiness = {**ready, "periodSeconds": 30, "timeoutSeconds": COMPLETION_S + 5, "failureThreshold": 3}
        live = "/health"
    startup = {**ready, "periodSeconds": STARTUP_PERIOD_S, "failureThreshold": attempts}
    startup["timeoutSeconds"] = readiness["timeoutSeconds"]
    return {
        "startupProbe": startup,
        "readinessProbe": readiness,
        "livenessProbe": {
            "httpGet": {"path": live, "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _resources(deployed: Deployed) -> Object:
    gpus = {"nvidia.com/gpu": str(deployed.resources.gpus)} if deployed.resources.gpus else {}
    return {
        "requests": {"cpu": deployed.resources.cpu, "memory": deployed.resources.memory, **gpus},
        "limits": {"memory": deployed.resources.memory, **gpus},
    }


def _container(plan: ReleasePlan, deployed: Deployed) -> Object:
    arm = arm_name(plan.model, plan.version)
    environment: list[Object] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "CLEARWAY_PROFILE", "value": "production"},
        {"name": "CLEARWAY_HOME", "value": HOME},
        {"name": "CLEARWAY_HOST", "value": "0.0.0.0"},
        {"name": "HOME", "value": "/tmp"},
    ]
    mounts: list[Object] = [
        {"name": "home", "mountPath": HOME},
        # One writer a folder of segments, and the arm's pods are many.
        {"name": "home", "mountPath": f"{HOME}/events/{arm}", "subPathExpr": "events/$(POD_NAME)"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if deployed.kind == "llm":
        # Which cores are taken is a matter of one machine.
        cores = {"name": "tmp", "mountPath": f"{HOME}/llm/cores", "subPath": "cores"}
        mounts = [mounts[0], mounts[2], cores, {"name": "shm", "mountPath": "/dev/shm"}]
    return {
        "name": "server",
        "image": deployed.image,
        "command": ["python", "-m", MODULES[deployed.kind]],
        "args": [
            *("--model", plan.model, "--version", plan.version),
            *("--port", str(deployed.port), "--arm", arm),
        ],
        "ports": [{"name": "http", "containerPort": deployed.port, "protocol": "TCP"}],
        "envFrom": [{"secretRef": {"name": deployed.settings_secret}}],
        "env": environment,
        "resources": _resources(deployed),
        **_probes(plan, deployed),
        "lifecycle": {"preStop": {"sleep": {"seconds": SETTLE_S}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def pod_template(plan: ReleasePlan, deployed: Deployed) -> Object:
    """The pods of a version."""
    volumes: list[Object] = [
        {"name": "home", "persistentVolumeClaim": {"claimName": deployed.home_claim}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if deployed.kind == "llm":
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}})
    spec: Object = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": SETTLE_S + math.ceil(plan.drain_timeout_s) + 15,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": object_name(plan)}},
            }
        ],
        "containers": [_container(plan, deployed)],
        "volumes": volumes,
    }
    if deployed.node_selector:
        spec["nodeSelector"] = dict(deployed.node_selector)
    if deployed.tolerations:
        spec["tolerations"] = [dict(t) for t in deployed.tolerations]
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(deployed.port),
        "prometheus.io/path": "/metrics",
    }
    return {"metadata": {"labels": pod_labels(plan), "annotations": annotations}, "spec": spec}


def deployment(plan: ReleasePlan, deployed: Deployed, count: int | None = None) -> Object:
    """The Deployment. ``count`` is the number of its replicas; None leaves it to the autoscaler."""
    name = object_name(plan)
    spec: Object = {
        **({"replicas": count} if count is not None else {}),
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": max(600, math.ceil(plan.ready_timeout_s) * 2),
        "selector": {"matchLabels": {"app": name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pod_template(plan, deployed),
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, plan, deployed), "spec": spec}


def service(name: str, plan: ReleasePlan, deployed: Deployed) -> Object:
    """A Service of the model's pods; who shifts traffic narrows its selector."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, plan, deployed),
        "spec": {
            "selector": {"app": object_name(plan)},
            "ports": [{"name": "http", "port": deployed.port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _apps(plan: ReleasePlan, primary: bool) -> list[str]:
    """Values of the pods' label ``app``; Flagger runs the stable version under another."""
    name = object_name(plan)
    return [name, f"{name}-primary"] if primary else [name]


def disruption_budget(plan: ReleasePlan, deployed: Deployed, app: str) -> Object:
    """A drained node takes one server at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(app, plan, deployed),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {"app": app}},
        },
    }


def autoscaler(plan: ReleasePlan, deployed: Deployed, version: str, kind: str) -> Object:
    """More servers when they are busy, of the object ``version``/``kind`` of the model's name. By CPU: for a GPU's
    server that says little, and a metric of its queue needs an adapter that not every cluster has."""
    name = object_name(plan)
    low = replicas(plan, deployed)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(name, plan, deployed),
        "spec": {
            "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": name},
            "minReplicas": low,
            "maxReplicas": max(low, deployed.max_replicas),
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": deployed.target_cpu_percent},
                    },
                }
            ],
            # A release compares two arms: capacity that comes and goes would be compared as well.
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def network_policy(plan: ReleasePlan, deployed: Deployed, apps: list[str]) -> Object:
    """Only the namespace itself and the named callers reach the server: it asks nobody for a key, the gateway does."""
    namespaces = sorted({deployed.namespace, *deployed.callers})
    callers: list[Object] = [
        *({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in namespaces),
        *({"ipBlock": {"cidr": cidr}} for cidr in deployed.caller_cidrs),
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(object_name(plan), plan, deployed),
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": callers,
                    "ports": [{"protocol": "TCP", "port": deployed.port}],
                }
            ],
        },
    }


def guards(plan: ReleasePlan, deployed: Deployed, *, scaled: tuple[str, str], primary: bool = False) -> list[Object]:
    """Disruption budgets, autoscaler and network policy.

    Args:
        scaled: apiVersion and kind of what the autoscaler scales.
        primary: whether the stable version runs as ``<name>-primary``, as Flagger has it.
    """
    apps = _apps(plan, primary)
    return [
        *(disruption_budget(plan, deployed, app) for app in apps),
        autoscaler(plan, deployed, *scaled),
        network_policy(plan, deployed, apps),
    ]
