"""Makes the state folder ready: Dagster's instance, the environment of every child process, the key of `make run`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from serving.settings import PROJECT, Settings

QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its page needs no job workers, and there would be seven
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}


def prepare(settings: Settings) -> dict[str, str]:
    """Create what must exist below home, and return the environment in which all of Clearway runs."""
    dagster_home = settings.home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    instance = PROJECT / "orchestration" / "deploy" / "dagster.yaml"
    shutil.copyfile(instance, dagster_home / "dagster.yaml")
    environment = {
        **QUIET,
        "DAGSTER_HOME": str(dagster_home),
        "CLEARWAY_HOME": str(settings.home),
        "CLEARWAY_DOMAIN": str(settings.domain),
        "CLEARWAY_PROFILE": settings.profile,
    }
    os.environ.update(environment)
    return environment


def local_key(settings: Settings) -> str:
    """The bearer key of this machine's user, made once; kept readable to its owner only, beside the hashed ones."""
    from serving.gateway.keys import create_key, key_ids

    file = settings.home / "local.key"
    if file.exists() and "local" in key_ids(settings):
        return file.read_text().strip()
    number = 1 + sum(i.startswith("local") for i in key_ids(settings))
    name = "local" if number == 1 else f"local-{number}"
    key = create_key(name, ["predict", "read", "operate", "feed"], settings, labels=["*"])
    _write_private(file, key)
    return key


def _write_private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text + "\n")
