"""Release plans submitted to the rollout controller, rollouts observed, decision records kept."""
