"""What Dagster would ask a cluster for under the production profile, as JSON; for a process of its own.

``python -m tests.orchestration.cluster KUBECONFIG``. dagster-k8s's own launcher, executor and Pipes client make the
pods; only the last call, to the cluster, is caught.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from serving.settings import PROJECT

DEPLOY = PROJECT / "orchestration" / "deploy"
IMAGE = "registry.example/clearway:1.2"


def instance_config(kubeconfig: str) -> dict[str, Any]:
    """The instance as it is deployed, but for its storage and the cluster's address."""
    config = yaml.safe_load((DEPLOY / "dagster.production.yaml").read_text())
    for name in ("storage", "compute_logs", "local_artifact_storage"):
        del config[name]
    config["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": kubeconfig}
    return dict(config)


class Caught:
    """Stands for the cluster's API: keeps the jobs it is given."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def create_namespaced_job_with_retries(self, body: Any, namespace: str) -> None:
        assert namespace == "clearway"
        self.jobs.append(body)


def plain(model: Any) -> Any:
    import kubernetes

    return kubernetes.client.ApiClient().sanitize_for_serialization(model)


def run_and_steps(instance: Any, steps: list[str]) -> tuple[Any, dict[str, Any]]:
    """The Job of a run of ``lifecycle``, and those of some of its steps."""
    import dagster as dg
    from dagster._core.execution.api import create_execution_plan
    from dagster._core.execution.context.system import PlanData, PlanOrchestrationContext
    from dagster._core.execution.context_creation_job import create_context_free_log_manager
    from dagster._core.execution.retries import RetryMode
    from dagster._core.executor.init import InitExecutorContext
    from dagster._core.executor.step_delegating import StepHandlerContext
    from dagster._core.launcher import LaunchRunContext
    from dagster._grpc.types import ExecuteStepArgs

    import orchestration.definitions as loaded

    job = dg.reconstructable(lifecycle)
    definition = job.get_definition()
    origin = job.get_python_origin()
    repository = origin.repository_origin._replace(container_image=IMAGE)
    origin = origin._replace(repository_origin=repository)
    plan = create_execution_plan(job, tags=_range(loaded.domain))
    run = instance.create_run_for_job(
        definition, execution_plan=plan, job_code_origin=origin, tags=_range(loaded.domain)
    )

    launcher = instance.run_launcher
    launcher._api_client = Caught()
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    (of_run,) = launcher._api_client.jobs

    executor_def = definition.executor_def
    config = executor_def.apply_config_mapping({"config": {}}).value["config"]
    executor = executor_def.executor_creation_fn(InitExecutorContext(job, executor_def, config, instance))
    handler = executor._step_handler
    of_steps = {}
    for step in steps:
        handler._api_client = Caught()
        data = PlanData(job, run, instance, plan, True, RetryMode.DISABLED)
        context = PlanOrchestrationContext(
            plan_data=data,
            log_manager=create_context_free_log_manager(instance, run),
            executor=executor,
            output_capture=None,
        )
        asked = StepHandlerContext(
            instance=instance,
            plan_context=context,
            steps=[plan.get_step_by_key(step)],
            execute_step_args=ExecuteStepArgs(origin, run.run_id, [step]),
            dagster_run=run,
        )
        list(handler.launch_step(asked))
        (of_steps[step],) = handler._api_client.jobs
    return plain(of_run), {step: plain(found) for step, found in of_steps.items()}


def _range(domain: Any) -> dict[str, str]:
    first, last = domain.periods[0].isoformat(), domain.periods[-1].isoformat()
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def lifecycle() -> Any:
    import orchestration.definitions as loaded

    return loaded.defs.get_repository_def().get_job("lifecycle")


def main() -> None:
    import dagster as dg
    from dagster_k8s.pipes import build_pod_body

    import orchestration.definitions as loaded
    from orchestration.sizes import by_step, read_sizes

    kubeconfig = sys.argv[1]
    home = Path(os.environ["DAGSTER_HOME"])
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance_config(kubeconfig)))
    sizes = read_sizes()
    sized = by_step(loaded.defs, sizes)
    steps = [node.name for node in lifecycle().nodes]
    ordinary = next(name for name in steps if name not in sized)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run, pods = run_and_steps(instance, [ordinary, *(name for name in sized if name in steps)])
    gpu = build_pod_body("pipes-1", None, ["python", "train.py"], {}, None, sizes.sizes["gpu"].pod(IMAGE))
    print(
        json.dumps(
            {
                "run": run,
                "steps": pods,
                "ordinary": ordinary,
                "sized": sized,
                "nodes": sorted({n.name for j in loaded.defs.get_repository_def().get_all_jobs() for n in j.nodes}),
                "gpu": plain(gpu),
                "executors": sorted({j.executor_def.name for j in loaded.defs.get_repository_def().get_all_jobs()}),
                "pipes": type((loaded.defs.resources or {})["pipes"]).__name__,
            }
        )
    )


if __name__ == "__main__":
    main()
