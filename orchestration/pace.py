"""How often sensors look."""

from __future__ import annotations

from serving.settings import get_settings

LEAST_S = 2


def interval(seconds: int) -> int:
    """A sensor's declared seconds between two looks, at the pace of the settings."""
    return max(LEAST_S, round(seconds * get_settings().pace))
