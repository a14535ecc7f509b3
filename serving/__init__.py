"""What answers requests: servers, routing, rollouts, semantics. Never imports Dagster."""
