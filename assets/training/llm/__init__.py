"""The metric copilot: pairs to learn from, tuning, evaluation."""
