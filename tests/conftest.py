"""What all tests share: no test reads or writes the user's own state."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
for name in [n for n in os.environ if n.startswith("CLEARWAY_")]:
    del os.environ[name]
# Whatever forgets to name its home lands here, not in the user's.
os.environ["CLEARWAY_HOME"] = tempfile.mkdtemp(prefix="clearway-tests-")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")
