"""What became of the models that serve: estimated and measured risk, alarms, and whether a retraining is worth it."""
