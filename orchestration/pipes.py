"""Dagster Pipes on a cluster: work that a step starts in a pod of its own, with an end to the waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster_k8s import PipesK8sClient

from orchestration.sizes import FILE, Size
from serving.errors import DeclarationError

# Dagster's own default is a day: a pod that never gets a node would keep its run, and a place in the queue, as long.
LONGEST_S = 6 * 3600.0
CLAIM = "clearway-home"
USER = 10001  # as the image's


class BoundedPipesK8sClient(PipesK8sClient):
    """A PipesK8sClient for what a laptop runs as a child: command and variables are enough to start it.

    Args:
        longest_s: how long a run waits for its pod to end at most, in s.
        size: of the pods, with the image that they are made of.
        home: CLEARWAY_HOME, which every pod has from the same volume; none: pods have no volume.
    """

    def __init__(
        self, longest_s: float = LONGEST_S, size: Size | None = None, home: Path | None = None, **more: Any
    ) -> None:
        super().__init__(**more)
        self.longest_s, self.size, self.home = longest_s, size, home

    def run(self, *, pod_wait_timeout: float = LONGEST_S, **more: Any) -> Any:
        """As PipesK8sClient.run; a longer wait than ``longest_s`` is cut to it.

        Raises:
            DeclarationError: neither the call nor the declared size says which image the pod is made of.
        """
        if not more.keys() & {"image", "base_pod_spec"}:
            more["base_pod_spec"] = self._pod()
        return super().run(pod_wait_timeout=min(pod_wait_timeout, self.longest_s), **more)

    def _pod(self) -> dict[str, Any]:
        if self.size is None or self.size.image is None:
            raise DeclarationError(
                f"{FILE.name}: the size gpu names no image, so no pod can be started for what a step hands on.",
                untouched="everything; nothing was started.",
                todo="name the image with vLLM there: image: REGISTRY/clearway-llm:TAG",
            )
        found = self.size.pod(self.size.image)
        found["security_context"] = {
            "run_as_non_root": True, "run_as_user": USER, "fs_group": USER,
            "seccomp_profile": {"type": "RuntimeDefault"},
        }  # fmt: skip
        (container,) = found["containers"]
        container["security_context"] = {"allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}}
        if self.home is not None:
            container["volume_mounts"] = [{"name": "home", "mount_path": str(self.home)}]
            found["volumes"] = [{"name": "home", "persistent_volume_claim": {"claim_name": CLAIM}}]
        return found
