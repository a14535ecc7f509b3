"""What all tests share: no test reads or writes the user's own state."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

# CLEARWAY_TEST_ are the suite's own: which other servers to test.
for name in [n for n in os.environ if n.startswith("CLEARWAY_") and not n.startswith("CLEARWAY_TEST_")]:
    del os.environ[name]
# Whatever forgets to name its home lands here, not in the user's.
os.environ["CLEARWAY_HOME"] = tempfile.mkdtemp(prefix="clearway-tests-")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")


# Whole commands and vLLM: what wants all cores is one worker's, one after the other.
HEAVY = ("tests/end_to_end/", "tests/serving/llm/test_vllm")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers share out whole files, as a file's tests share fixtures."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "heavy" if nodeid.startswith(HEAVY) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Settings of a home whose graph and vectors' servers run; a test empties what it uses."""
    from tests.knowledge import running

    with running(tmp_path_factory.mktemp("stores")) as settings:
        yield settings
