"""Tabular models: LightGBM, found by Optuna, calibrated, judged by day-paired comparison."""
