"""Traffic between arms: Envoy on a laptop; an arm is a process here and a Deployment on Kubernetes."""
