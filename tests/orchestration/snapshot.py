"""What the reference domain's definitions are, as JSON: the committed file is made, and made again, by

python -m tests.orchestration.snapshot
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("definitions.json")
HEAVY = ("great_expectations", "feast", "mlflow", "evidently", "dbt", "lightgbm", "optuna", "metricflow", "matplotlib")


def describe() -> dict[str, Any]:
    """Assets, checks, jobs, schedules and sensors of ``orchestration.definitions``, sorted."""
    from orchestration.definitions import defs

    repository = defs.get_repository_def()
    graph = repository.asset_graph
    checks: dict[str, list[str]] = {}
    for check in graph.asset_check_keys:
        blocking = " (blocking)" if graph.get_check_spec(check).blocking else ""
        checks.setdefault(check.asset_key.to_user_string(), []).append(f"{check.name}{blocking}")
    assets = {}
    for node in graph.asset_nodes:
        name = node.key.to_user_string()
        assets[name] = {
            "group": node.group_name,
            "owners": sorted(node.owners),
            "described": not (node.description or "dbt model").startswith("dbt model"),
            "deps": sorted(key.to_user_string() for key in node.parent_keys),
            "partitions": type(node.partitions_def).__name__ if node.partitions_def else None,
            "kinds": sorted(node.kinds),
            "pools": sorted(node.pools or ()),
            "automated": node.automation_condition is not None,
            "checks": sorted(checks.get(name, [])),
        }
    jobs = {
        job.name: {
            "partitioned": job.partitions_def is not None,
            "steps": len(job.graph.node_defs),
            "described": bool(job.description),
        }
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    schedules = {s.name: {"cron": s.cron_schedule, "job": s.job_name} for s in repository.schedule_defs}
    sensors = {
        s.name: {"kind": s.sensor_type.value, "status": s.default_status.value, "described": bool(s.description)}
        for s in repository.sensor_defs
    }
    return {"assets": assets, "jobs": jobs, "schedules": schedules, "sensors": sensors}


def main() -> None:
    found = describe()
    if "--print" in sys.argv:
        heavy = [name for name in HEAVY if name in sys.modules]
        print(json.dumps({"definitions": found, "heavy": heavy}))
    else:
        FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    import os

    os.environ.setdefault("CLEARWAY_HOME", tempfile.mkdtemp(prefix="clearway-snapshot-"))
    main()
