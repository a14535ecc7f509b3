"""How often sensors look."""

from __future__ import annotations

from serving.settings import get_settings

LEAST_S = 2


def interval(seconds: int, least: int = LEAST_S) -> int:
    """A sensor's declared seconds between two looks, at the pace of the settings."""
    return max(least, round(seconds * get_settings().pace))
