"""Questions about metrics, answered by MetricFlow in process from the published warehouse."""
