"""The dbt models and the metrics as assets; built and tested on a copy, published by one replacement."""
