"""Another graph server than the embedded one, given by the environment."""

from __future__ import annotations

import os

# The suite removes CLEARWAY_ variables before any test; these say which server to test, so they are kept here.
_GIVEN = {name: os.environ.get(f"CLEARWAY_TEST_BOLT_{name}") for name in ("URL", "USER", "PASSWORD")}


def given() -> tuple[str, str, str] | None:
    """URL, user, password; None for the embedded server."""
    url, user, password = _GIVEN["URL"], _GIVEN["USER"], _GIVEN["PASSWORD"]
    return (url, user or "neo4j", password or "") if url else None
