"""Documents: collected from the drop folder and the project itself, parsed, cut into passages."""
