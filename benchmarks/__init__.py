"""Measures Clearway beside its rivals: ``python -m benchmarks [name] [--quick]``, one file a bench."""
