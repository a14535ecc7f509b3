"""Dagster Pipes on a cluster: work that a step starts in a pod of its own, with an end to the waiting."""

from __future__ import annotations

from typing import Any

from dagster_k8s import PipesK8sClient

# Dagster's own default is a day: a pod that never gets a node would keep its run, and a place in the queue, as long.
LONGEST_S = 6 * 3600.0


class BoundedPipesK8sClient(PipesK8sClient):
    """A PipesK8sClient whose runs wait at most ``longest_s`` for their pod to end, in seconds."""

    def __init__(self, longest_s: float = LONGEST_S, **more: Any) -> None:
        super().__init__(**more)
        self.longest_s = longest_s

    def run(self, *, pod_wait_timeout: float = LONGEST_S, **more: Any) -> Any:
        """As PipesK8sClient.run; a longer wait than ``longest_s`` is cut to it."""
        return super().run(pod_wait_timeout=min(pod_wait_timeout, self.longest_s), **more)
