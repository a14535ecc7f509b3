"""Fit, calibrate, judge, register: only what passes its gates becomes a challenger."""
