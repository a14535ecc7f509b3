"""What was predicted, by whom, with what: append-only segments, one folder a serving process."""
