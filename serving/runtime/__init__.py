"""What runs where: supervisor's programs on a laptop, objects on Kubernetes."""
