"""What exists: one package a stage of the life cycle, in the order of the flow."""
