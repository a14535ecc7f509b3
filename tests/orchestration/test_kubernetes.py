"""Dagster on a cluster: pods that Kubernetes takes, of the size their assets ask for; overlays and image that agree."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml

from orchestration.home import QUIET
from orchestration.pipes import LONGEST_S, BoundedPipesK8sClient
from orchestration.profiles import executor, resources
from orchestration.sizes import HEAVY, TAG, Size, by_step, executor_config, read_sizes
from serving.errors import DeclarationError
from serving.settings import PROJECT, REQUIRED_IN_PRODUCTION, Settings
from tests.orchestration.cluster import DEPLOY, IMAGE
from tests.running import Place
from tests.serving.runtime.kubernetes import validating

LOOPBACK = {
    "CLEARWAY_PROFILE": "production",
    "CLEARWAY_CATALOG_URI": "postgresql+psycopg2://catalog@127.0.0.1:1/catalog",
    "CLEARWAY_LAKEHOUSE_URI": "s3://lakehouse/tables",
    "CLEARWAY_MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    "CLEARWAY_FEATURE_REGISTRY_URI": "postgresql://registry@127.0.0.1:1/registry",
    "CLEARWAY_ONLINE_STORE_URI": "redis://127.0.0.1:1",
    "CLEARWAY_DAGSTER_POSTGRES_URL": "postgresql://dagster:s3cr3t@127.0.0.1:1/dagster",
    "CLEARWAY_API_KEYS_FILE": "/var/lib/clearway/keys.json",
}
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "current-context": "none",
}


def declared(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the definitions of the production profile ask a cluster for, from a process of their own."""
    folder: Path = tmp_path_factory.mktemp("home")
    (folder / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
    given = Place(folder)
    done = given.python("-m", "tests.orchestration.cluster", str(folder / "kubeconfig"), **LOOPBACK)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def container(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.integration
def test_production_loads_and_kubernetes_takes_its_pods(cluster: dict[str, Any]) -> None:
    assert set(REQUIRED_IN_PRODUCTION) <= {name.removeprefix("CLEARWAY_").lower() for name in LOOPBACK}
    assert "k8s" in cluster["executors"]
    assert cluster["pipes"] == "BoundedPipesK8sClient"
    for job in (cluster["run"], *cluster["steps"].values()):
        validating.builtin(job)
        assert container(job)["image"] == IMAGE
    pod = {"apiVersion": "v1", "kind": "Pod", **cluster["gpu"]}
    validating.builtin(pod)
    wrong = copy.deepcopy(cluster["run"])
    wrong["spec"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validating.builtin(wrong)


@pytest.mark.integration
def test_a_step_gets_what_its_asset_asks_for(cluster: dict[str, Any]) -> None:
    sizes = declared("sizes.yaml")["sizes"]
    assert cluster["sized"]
    for step, job in cluster["steps"].items():
        size = sizes[cluster["sized"].get(step, "small")]
        asked = container(job)["resources"]
        assert asked["requests"] == {"cpu": size["cpu"], "memory": size["memory"]}, step
        assert asked["limits"] == {"memory": size["memory"]}, step
    assert set(cluster["sized"]) <= set(cluster["nodes"])
    gpu = cluster["gpu"]["spec"]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["nodeSelector"] == sizes["gpu"]["node_selector"]
    assert gpu["tolerations"] == sizes["gpu"]["tolerations"]


@pytest.mark.integration
def test_pods_get_secrets_by_reference_and_the_shared_home(cluster: dict[str, Any]) -> None:
    assert "s3cr3t" not in json.dumps(cluster)
    for job in (cluster["run"], *cluster["steps"].values()):
        found = container(job)
        assert {"secretRef": {"name": "clearway-settings"}} in found["envFrom"]
        assert {"name": "CLEARWAY_PROFILE", "value": "production"} in found["env"]
        assert {"name": "home", "mountPath": "/var/lib/clearway"} in found["volumeMounts"]
        pod = job["spec"]["template"]["spec"]
        assert {"name": "home", "persistentVolumeClaim": {"claimName": "clearway-home"}} in pod["volumes"]
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_chart_s_servers_are_the_code_s_deployments() -> None:
    values, code = declared("values.yaml"), declared("values-code.yaml")
    assert values["dagster-user-deployments"] == {"enabled": True, "enableSubchart": False}
    workspace = values["dagsterWebserver"]["workspace"]
    assert workspace["enabled"]
    # The code's chart names the Service after the deployment.
    servers = sorted((server["host"], server["port"]) for server in workspace["servers"])
    assert servers == sorted((deployment["name"], deployment["port"]) for deployment in code["deployments"])
    location = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert [server["name"] for server in workspace["servers"]] == [location["code_location_name"]]
    (deployment,) = code["deployments"]
    assert deployment["codeServerArgs"][-1] == location["code_location_target_module"]
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    for name in ("postgresqlSecretName", "serviceAccountName"):
        assert values["global"][name] == code["global"][name]


def test_the_chart_and_the_instance_say_the_same() -> None:
    values, code, instance = declared("values.yaml"), declared("values-code.yaml"), declared("dagster.production.yaml")
    launcher = instance["run_launcher"]["config"]
    by_chart = values["runLauncher"]["config"]["k8sRunLauncher"]
    run = by_chart["runK8sConfig"]
    assert run["containerConfig"] == launcher["run_k8s_config"]["container_config"]
    assert run["podSpecConfig"] == launcher["run_k8s_config"]["pod_spec_config"]
    assert run["jobSpecConfig"] == launcher["run_k8s_config"]["job_spec_config"]
    assert by_chart["imagePullPolicy"] == launcher["image_pull_policy"]
    (deployment,) = code["deployments"]
    assert {f"{v['name']}={v['value']}" for v in deployment["env"]} == set(launcher["env_vars"])
    assert [secret["name"] for secret in deployment["envSecrets"]] == launcher["env_secrets"]
    assert deployment["volumes"] == launcher["volumes"]
    assert deployment["volumeMounts"] == launcher["volume_mounts"]

    runs, pools = values["concurrency"]["runs"], values["concurrency"]["pools"]
    assert runs["maxConcurrentRuns"] == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert pools["defaultLimit"] == instance["concurrency"]["pools"]["default_limit"]
    assert pools["granularity"] == instance["concurrency"]["pools"]["granularity"]
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    snake = {re.sub("([A-Z])", lambda m: f"_{m[1].lower()}", key): value for key, value in monitoring.items()}
    assert snake == instance["run_monitoring"]
    assert values["dagsterDaemon"]["runRetries"]["maxRetries"] == instance["run_retries"]["max_retries"]
    logs = values["computeLogManager"]["config"]["customComputeLogManager"]
    assert logs == instance["compute_logs"]
    extra = values["additionalInstanceConfig"]
    assert all(instance[key] == value for key, value in extra.items())


def test_pools_are_as_on_a_laptop() -> None:
    assert (
        declared("dagster.production.yaml")["concurrency"]["pools"] == declared("dagster.yaml")["concurrency"]["pools"]
    )


def test_dagster_takes_the_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARWAY_DAGSTER_POSTGRES_URL", LOOPBACK["CLEARWAY_DAGSTER_POSTGRES_URL"])
    config = declared("dagster.production.yaml")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    from dagster._core.instance.ref import InstanceRef

    found = InstanceRef.from_dir(str(tmp_path))
    assert found.run_launcher_data is not None
    assert found.run_launcher_data.class_name == "K8sRunLauncher"
    assert "s3cr3t" not in str(found)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**config, "run_monitorin": {}}))
    with pytest.raises(dg.DagsterInvalidConfigError):
        InstanceRef.from_dir(str(tmp_path))


def test_the_storage_is_one_that_dagster_postgres_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres = pytest.importorskip(
        "dagster_postgres", reason="the group `production` is not installed: its driver is LGPL"
    )
    monkeypatch.setenv("CLEARWAY_DAGSTER_POSTGRES_URL", LOOPBACK["CLEARWAY_DAGSTER_POSTGRES_URL"])
    from dagster._config import process_config, resolve_to_config_type

    schema = resolve_to_config_type(postgres.DagsterPostgresStorage.config_type())
    done = process_config(schema, declared("dagster.production.yaml")["storage"]["postgres"])
    assert done.success, done.errors


def test_the_image_has_all_that_runs_and_no_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M) for word in line.split()[:-1]}
    for source in copied:
        assert (PROJECT / source).exists(), source
    assert {"serving", "assets", "orchestration", "dbt_project", "feature_repo"} <= copied
    allowed = set((DEPLOY / "Dockerfile.dockerignore").read_text().split())
    assert {f"!{source}" for source in copied} <= allowed
    joined = text.replace("\\\n", " ")
    for name, value in QUIET.items():
        assert f"{name}={value}" in joined.split(), name
    stages = text.split("\nFROM ")
    assert stages[-1].strip() == "clearway"
    assert "USER 10001:10001" in stages[2]
    assert stages[3].rfind("USER 10001") > stages[3].rfind("USER root")
    (uv,) = re.findall(r"^UV_VERSION := (\S+)$", (PROJECT / "Makefile").read_text(), re.M)
    assert f"ARG UV={uv}" in text
    security = declared("values-code.yaml")["deployments"][0]["podSecurityContext"]
    assert security["runAsUser"] == 10001
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]
    assert "--group production" in text
    assert any("dagster-postgres" in wanted for wanted in groups["production"])


def tagged(name: str, **tags: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, tags={key.replace("__", "/"): value for key, value in tags.items()})
    def made() -> None: ...

    return made


def test_sizes_by_tag() -> None:
    assets = [tagged("plain"), tagged("big", clearway__size="large"), tagged("net", clearway__size="gpu")]
    assets += [tagged("heavy", clearway__heavy="true")]
    found = by_step(dg.Definitions(assets=assets), read_sizes())
    assert found == {"big": "large", "net": "gpu", "heavy": "large"}
    config = executor_config(dg.Definitions(assets=assets), read_sizes())
    assert config["per_step_k8s_config"]["net"]["pod_spec_config"]["node_selector"]
    assert "pod_spec_config" in config["step_k8s_config"]


def test_the_largest_of_a_step_s_sizes_counts() -> None:
    @dg.multi_asset(
        specs=[dg.AssetSpec("a"), dg.AssetSpec("b", tags={TAG: "gpu"}), dg.AssetSpec("c", tags={HEAVY: "true"})]
    )
    def several():  # type: ignore[no-untyped-def]
        ...

    assert by_step(dg.Definitions(assets=[several]), read_sizes()) == {"several": "gpu"}


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(DeclarationError, match=r"huge.*small, large, gpu"):
        by_step(dg.Definitions(assets=[tagged("x", clearway__size="huge")]), read_sizes())


def test_a_sizes_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "sizes.yaml").write_text("default: tiny\nsizes: {large: {cpu: '1', memory: 1Gi}}\n")
    with pytest.raises(DeclarationError, match="tiny is not among them"):
        read_sizes(tmp_path / "sizes.yaml")


def test_a_pod_is_not_waited_for_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    from dagster_k8s import PipesK8sClient

    monkeypatch.setattr(PipesK8sClient, "run", lambda self, **given: waited.append(given["pod_wait_timeout"]))
    client = BoundedPipesK8sClient(longest_s=60)
    client.run(context=None, image="i")
    client.run(context=None, image="i", pod_wait_timeout=30)
    client.run(context=None, image="i", pod_wait_timeout=86400)
    assert waited == [60, 30, 60]
    assert BoundedPipesK8sClient().longest_s == LONGEST_S < 86400


def test_what_a_step_hands_on_needs_an_image_with_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dagster_k8s import PipesK8sClient
    from dagster_k8s.pipes import build_pod_body

    size = read_sizes().sizes["gpu"]
    with pytest.raises(DeclarationError, match=r"sizes\.yaml: the size gpu names no image"):
        BoundedPipesK8sClient(size=size).run(context=None, command=["python"], env={})
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(PipesK8sClient, "run", lambda self, **given: started.append(given["base_pod_spec"]))
    sized = size.model_copy(update={"image": "registry/clearway-llm:1"})
    assert sized.step()["container_config"]["image"] == "registry/clearway-llm:1"
    BoundedPipesK8sClient(size=sized, home=tmp_path).run(context=None, command=["python"], env={})
    pod = build_pod_body("tuning", None, ["python", "tune.py"], {}, None, started[0]).to_dict()["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry/clearway-llm:1"
    assert container["volume_mounts"][0]["mount_path"] == str(tmp_path)
    assert pod["volumes"][0]["persistent_volume_claim"]["claim_name"] == "clearway-home"
    assert pod["security_context"]["run_as_user"] == 10001


def test_a_laptop_runs_in_one_process_and_pipes_to_a_child(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert executor(settings, dg.Definitions()) is dg.in_process_executor
    assert isinstance(resources(settings)["pipes"], dg.PipesSubprocessClient)


def test_a_size_without_gpus_asks_for_none() -> None:
    assert "nvidia.com/gpu" not in str(Size(cpu="1", memory="1Gi").step())
