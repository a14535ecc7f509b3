"""A release plan as objects of a cluster: Deployment and what guards it, Argo Rollouts, Flagger, AWS annotations."""
