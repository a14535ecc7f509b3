"""Another graph server than the embedded one, given by the environment."""

from __future__ import annotations

import os


def given() -> tuple[str, str, str] | None:
    """URL, user, password; None for the embedded server."""
    url, user, password = (os.environ.get(f"CLEARWAY_TEST_BOLT_{name}") for name in ("URL", "USER", "PASSWORD"))
    return (url, user or "neo4j", password or "") if url else None
