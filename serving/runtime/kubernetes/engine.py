"""Moves a Rollout that was rendered with ``--engine``: ends its pauses up to a weight, or aborts it. Idempotent.

Argo's own promotion ends whichever pause there is, so said twice it moves two steps. Here the weight is said, and a
step is left only from the state that was read (the object's resourceVersion goes with the change).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.errors import ClearwayError
from serving.rollout.state import Rollout as Release
from serving.runtime.kubernetes.argo import API
from serving.runtime.kubernetes.deployed import Object

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 10.0


class ClusterError(ClearwayError):
    """The cluster refuses, is not there, or holds something else than was rendered."""


@dataclass(frozen=True)
class Position:
    """Where a Rollout stands: the new version's ``weight`` in percent, whether it waits there, or was aborted."""

    weight: int
    waits: bool
    aborted: bool


def position(rollout: Object) -> Position:
    """Where a Rollout as read from the cluster stands.

    Raises:
        ClusterError: it has steps that move without being told, so it was not rendered with ``--engine``.
    """
    status, name = rollout.get("status", {}), rollout["metadata"]["name"]
    steps = rollout["spec"]["strategy"].get("canary", {}).get("steps", [])
    if not steps or any(step.keys() - {"setWeight", "pause"} or step.get("pause") for step in steps):
        raise ClusterError(
            f"Rollout {name} moves by itself: it has other steps than weights and pauses without end",
            untouched="its weight.",
            todo="render it with --engine, and apply that.",
        )
    at = status.get("currentStepIndex", 0)
    done = [step["setWeight"] for step in steps[:at] if "setWeight" in step]
    weight = 100 if at >= len(steps) else (done[-1] if done else 0)
    waits = bool(status.get("pauseConditions")) and at < len(steps) and "pause" in steps[at]
    aborted = bool(status.get("abort"))
    return Position(0 if aborted else weight, waits, aborted)


def change(rollout: Object, weight: int) -> Object | None:
    """The merge patch of the Rollout's status that brings it one step nearer to ``weight``, in percent.

    None when it is there, or still on its way to where it was told to go; ask again. 0 aborts.

    Raises:
        ClusterError: the weight is none of the steps', is behind, or the Rollout was aborted.
    """
    now, name = position(rollout), rollout["metadata"]["name"]
    known = [step["setWeight"] for step in rollout["spec"]["strategy"]["canary"]["steps"] if "setWeight" in step]
    version = {"resourceVersion": rollout["metadata"]["resourceVersion"]}
    if weight == 0:
        return None if now.aborted else {"metadata": version, "status": {"abort": True}}
    if now.aborted:
        raise ClusterError(f"Rollout {name} was aborted", untouched="its weight.", todo="apply the next release.")
    if weight not in (*known, 100):
        raise ClusterError(f"Rollout {name} has steps {known} and 100, not {weight}", untouched="its weight.")
    if weight < now.weight:
        raise ClusterError(
            f"Rollout {name} is at {now.weight}, and Argo goes back to nothing but 0", untouched="its weight."
        )
    if weight == now.weight or not now.waits:
        return None
    return {"metadata": version, "status": {"pauseConditions": None}}


def wanted(rollout: Release | None) -> int | None:
    """The weight, in percent, at which a release's own log has its new version; None before it has one."""
    if rollout is None:
        return None
    if rollout.phase == "rolled_back":
        return 0
    return 100 if rollout.phase in ("switched", "aliased", "completed") else rollout.percent


class Cluster:
    """Reads and changes Rollouts through the API server.

    Needs ``get`` on rollouts and deployments, ``patch`` on rollouts/status.

    Args:
        url: of the API server.
        token: bearer token; none on a server that asks for none.
        authority: file of the certificate authority, for https.
    """

    def __init__(self, url: str, token: str | None = None, authority: Path | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        verify: Any = ssl.create_default_context(cafile=str(authority)) if authority else True
        self._client = httpx.Client(base_url=url, headers=headers, verify=verify, timeout=TIMEOUT_S)

    @classmethod
    def inside(cls) -> Cluster:
        """The cluster in whose pod this runs.

        Raises:
            ClusterError: this is no pod, or its account's token is not mounted.
        """
        try:
            token = (ACCOUNT / "token").read_text().strip()
        except OSError as error:
            raise ClusterError(f"this is no pod with a mounted account: {error}", untouched="everything.") from error
        return cls("https://kubernetes.default.svc", token, ACCOUNT / "ca.crt")

    def set_weight(self, namespace: str, name: str, weight: int) -> Position:
        """Bring a Rollout one step nearer to ``weight``; returns where it stood. Call it until it stands there.

        Raises:
            ClusterError: see :func:`change`; or the API server refuses. A change that somebody else was faster with is
                none: the next call sees theirs.
        """
        path = f"/apis/{API}/namespaces/{namespace}/rollouts/{name}"
        rollout = self._get(path)
        workload = rollout["spec"]["workloadRef"]["name"]
        deployment = self._get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{workload}")
        if str(deployment["metadata"]["generation"]) != rollout.get("status", {}).get("workloadObservedGeneration"):
            # Argo has not seen the new version yet: what stands here is where the last release ended.
            return Position(0, waits=False, aborted=False)
        patch = change(rollout, weight)
        if patch is not None:
            self._ask("PATCH", f"{path}/status", patch)
        return position(rollout)

    def _get(self, path: str) -> Object:
        found: Object = self._ask("GET", path).json()
        return found

    def _ask(self, method: str, path: str, patch: Object | None = None) -> httpx.Response:
        headers = {"content-type": "application/merge-patch+json"} if patch is not None else {}
        try:
            answer = self._client.request(method, path, json=patch, headers=headers)
        except httpx.HTTPError as error:
            raise ClusterError(f"the API server does not answer: {error}", untouched="the Rollout.") from error
        if answer.status_code != 200 and not (patch is not None and answer.status_code == 409):
            raise ClusterError(
                f"{method} {path}: HTTP {answer.status_code}: {answer.text[:300]}",
                untouched="the Rollout.",
                todo="see that the account may get rollouts and deployments, and patch rollouts/status.",
            )
        return answer
