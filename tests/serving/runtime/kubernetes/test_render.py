"""Every strategy for every target: objects that the cluster takes, and nothing of the plan dropped silently."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from serving.errors import DeclarationError
from serving.rollout.plan import ReleasePlan
from serving.runtime.kubernetes.__main__ import main, render
from serving.runtime.kubernetes.deployed import Deployed, Rendered, read_deployed
from tests.serving.runtime.kubernetes import validating

STRATEGIES = ("blue_green", "canary", "ab", "rolling", "shadow")
TARGETS = ("argo", "flagger", "aws")
GATES = {
    "latency": [{"measure": "latency_ms"}, {"measure": "ttft_ms", "quantile": 0.9}, {"measure": "inter_token_ms"}],
    "scalars": [
        {"measure": "refused", "promote_margin": 0.02},
        {"measure": "missing_features", "promote_margin": 0.05},
    ],
}


def plan(strategy: str = "canary", **more: Any) -> ReleasePlan:
    fields = {
        "model": "wilting_leaf",
        "version": "8",
        "strategy": strategy,
        "gates": GATES,
        "reason": "a test: it's {so}",
    }
    return ReleasePlan.model_validate({**fields, "replicas": 3, "requested_by": "tests", **more})


def deployed(kind: str = "tabular", **more: Any) -> Deployed:
    fields: dict[str, Any] = {"image": "registry.example/clearway:1.2", "kind": kind, "host": "models.example.com"}
    fields |= {"caller_cidrs": ["10.0.0.0/16"], "gates": "http://flagger-loadtester.flagger"}
    if kind == "llm":
        fields |= {
            "resources": {"cpu": "4", "memory": "24Gi", "gpus": 1},
            "node_selector": {"nvidia.com/gpu.present": "true"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        }
    return Deployed.model_validate({**fields, **more})


def of_kind(found: Rendered, kind: str) -> list[dict[str, Any]]:
    return [item for item in found.objects if item["kind"] == kind]


def one(found: Rendered, kind: str) -> dict[str, Any]:
    (item,) = of_kind(found, kind)
    return item


def possible(target: str, strategy: str) -> bool:
    return not (target == "aws" and strategy == "shadow")


ALL = [
    (target, strategy, kind, engine)
    for target in TARGETS
    for strategy in STRATEGIES
    for kind in ("tabular", "llm")
    for engine in (False, True)
    if possible(target, strategy)
]


@pytest.mark.parametrize(("target", "strategy", "kind", "engine"), ALL)
def test_kubernetes_takes_its_own_objects(target: str, strategy: str, kind: str, engine: bool) -> None:
    found = render(plan(strategy), deployed(kind), target, engine=engine)
    names = {(item["kind"], item["metadata"]["name"]) for item in found.objects}
    assert len(names) == len(found.objects)
    for item in found.objects:
        if not validating.is_custom(item) and item["kind"] not in validating.NOT_VALIDATED:
            validating.builtin(item)
        for measure in item["spec"].get("metrics", []) if item["kind"] == "AnalysisTemplate" else []:
            if "job" in measure["provider"]:
                validating.builtin(validating.as_job(measure))
    for kind_needed in ("Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"):
        assert of_kind(found, kind_needed), kind_needed


@pytest.mark.parametrize(("target", "strategy", "kind", "engine"), ALL)
def test_argo_and_flagger_take_their_objects(target: str, strategy: str, kind: str, engine: bool) -> None:
    found = render(plan(strategy), deployed(kind), target, engine=engine)
    custom = [item for item in found.objects if validating.is_custom(item)]
    assert custom
    for item in custom:
        validating.custom(item)


@pytest.mark.parametrize("router", ["istio", "nginx", "none"])
@pytest.mark.parametrize("strategy", ["blue_green", "canary", "ab", "rolling"])
def test_every_analysis_that_is_named_is_there_and_the_reverse(strategy: str, router: str) -> None:
    found = render(plan(strategy), deployed(router=router), "argo")
    templates = {item["metadata"]["name"] for item in of_kind(found, "AnalysisTemplate")}
    assert set(re.findall(r"'templateName': '([^']+)'", str(one(found, "Rollout")))) == templates
    services = {item["metadata"]["name"] for item in of_kind(found, "Service")}
    moving = one(found, "Rollout")["spec"]["strategy"]
    assert {value for key, value in next(iter(moving.values())).items() if key.endswith("Service")} <= services


@pytest.mark.parametrize("router", ["nginx", "none"])
@pytest.mark.parametrize("target", ["argo", "flagger"])
def test_other_routers(target: str, router: str) -> None:
    for strategy in ("canary", "blue_green", "rolling"):
        found = render(plan(strategy), deployed(router=router), target)
        for item in found.objects:
            (validating.custom if validating.is_custom(item) else validating.builtin)(item)


def test_the_validators_refuse_what_is_misspelt() -> None:
    found = render(plan(), deployed(), "argo")
    deployment = copy.deepcopy(one(found, "Deployment"))
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validating.builtin(deployment)
    rollout = copy.deepcopy(one(found, "Rollout"))
    rollout["spec"]["strategy"]["canary"]["steps"][0] = {"setWieght": 5}
    with pytest.raises(jsonschema.ValidationError):
        validating.custom(rollout)


def test_a_model_is_ready_when_it_answers() -> None:
    def container(kind: str) -> dict[str, Any]:
        spec = one(render(plan(ready_timeout_s=600), deployed(kind), "argo"), "Deployment")["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > plan().drain_timeout_s
        return dict(spec["containers"][0])

    tabular, llm = container("tabular"), container("llm")
    assert tabular["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for probe in ("startupProbe", "readinessProbe"):
        command = llm[probe]["exec"]["command"]
        assert "serving.runtime.kubernetes.ready" in command
        assert command[command.index("--model") + 1] == "wilting_leaf"
        assert llm[probe]["timeoutSeconds"] > float(command[-1])
    for found in (tabular, llm):
        assert found["startupProbe"]["periodSeconds"] * found["startupProbe"]["failureThreshold"] >= 600
    assert llm["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_no_two_pods_write_the_same_events() -> None:
    container = one(render(plan(), deployed(), "argo"), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    events = next(m for m in container["volumeMounts"] if m["mountPath"].endswith("/events/wilting_leaf-v8"))
    assert events["subPathExpr"] == "events/$(POD_NAME)"
    assert "POD_NAME" in {variable["name"] for variable in container["env"]}


def test_secrets_are_named_not_written() -> None:
    found = one(render(plan(), deployed(), "argo"), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert found["envFrom"] == [{"secretRef": {"name": "clearway-settings"}}]
    plain = {variable["name"] for variable in found["env"] if "value" in variable}
    assert plain == {"CLEARWAY_PROFILE", "CLEARWAY_HOME", "CLEARWAY_HOST", "HOME"}


def test_only_the_namespace_and_the_callers_reach_the_server() -> None:
    found = one(render(plan(), deployed(callers=["ingress"]), "flagger"), "NetworkPolicy")["spec"]
    (rule,) = found["ingress"]
    reached = {c["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for c in rule["from"][:-1]}
    assert reached == {"clearway", "ingress"}
    assert rule["from"][-1] == {"ipBlock": {"cidr": "10.0.0.0/16"}}
    assert found["podSelector"]["matchExpressions"][0]["values"] == ["wilting-leaf", "wilting-leaf-primary"]


def test_a_canary_s_steps_in_argo() -> None:
    declared = plan(steps=[{"weight": 5, "min_requests": 30, "min_seconds": 7}, {"weight": 50}, 100], min_requests=400)
    canary = one(render(declared, deployed(), "argo"), "Rollout")["spec"]["strategy"]["canary"]
    assert [step["setWeight"] for step in canary["steps"] if "setWeight" in step] == [5, 50]
    assert {"pause": {"duration": "7s"}} in canary["steps"]
    asked = [
        step["analysis"]["args"][0]["value"]
        for step in canary["steps"]
        if "analysis" in step and step["analysis"]["templates"] == [{"templateName": "wilting-leaf-gates"}]
    ]
    assert asked == ["30", "400"]
    assert canary["steps"][1] == {"analysis": {"templates": [{"templateName": "wilting-leaf-smoke"}]}}
    assert canary["analysis"]["templates"] == [{"templateName": "wilting-leaf-watch"}]


def test_too_little_by_the_deadline_holds_in_argo() -> None:
    found = render(plan(deadline_s=1200, steps=[10, 100]), deployed(interval_s=30), "argo")
    gates = next(t for t in of_kind(found, "AnalysisTemplate") if t["metadata"]["name"].endswith("-gates"))
    for measure in gates["spec"]["metrics"]:
        # All looks may be without an answer; then the success limit is not reached, which Argo calls inconclusive.
        assert measure["count"] == measure["inconclusiveLimit"] == 40
        assert measure["consecutiveSuccessLimit"] > 0
        assert "len(result) > 0" in measure["successCondition"]
        assert "len(result) > 0" in measure["failureCondition"]


@pytest.mark.parametrize("strategy", ["canary", "ab", "rolling"])
def test_the_engine_moves_argo_by_its_pauses(strategy: str) -> None:
    found = render(plan(strategy), deployed(), "argo", engine=True)
    steps = one(found, "Rollout")["spec"]["strategy"]["canary"]["steps"]
    assert len(steps) >= 2
    assert all("setWeight" in step for step in steps[::2])
    assert all(step == {"pause": {}} for step in steps[1::2])
    assert not of_kind(found, "AnalysisTemplate")
    assert "analysis" not in one(found, "Rollout")["spec"]["strategy"]["canary"]


def test_the_engine_moves_flagger_by_its_gates() -> None:
    found = render(plan(), deployed(), "flagger", engine=True)
    analysis = one(found, "Canary")["spec"]["analysis"]
    urls = {hook["type"]: hook["url"] for hook in analysis["webhooks"]}
    assert urls["confirm-traffic-increase"] == "http://flagger-loadtester.flagger/gate/check"
    assert urls["rollback"] == "http://flagger-loadtester.flagger/rollback/check"
    assert "metrics" not in analysis
    assert not of_kind(found, "MetricTemplate")
    with pytest.raises(DeclarationError, match="gates names none"):
        render(plan(), deployed(gates=None), "flagger", engine=True)


def test_flagger_s_metrics_are_there_under_their_names() -> None:
    found = render(plan(), deployed(), "flagger")
    templates = {item["metadata"]["name"]: item for item in of_kind(found, "MetricTemplate")}
    metrics = one(found, "Canary")["spec"]["analysis"]["metrics"]
    assert {m["templateRef"]["name"] for m in metrics} == set(templates)
    assert [m["thresholdRange"]["max"] for m in metrics if m["name"] == "errors"] == [0.01]
    assert one(found, "Canary")["spec"]["analysis"]["stepWeights"] == [5, 10, 25, 50]
    assert one(found, "Deployment")["spec"]["selector"]["matchLabels"] == {"app": "wilting-leaf"}
    # Flagger reads its queries as templates: a brace pair of its own would be one.
    assert all("{{" not in item["spec"]["query"] for item in templates.values())


def test_the_load_balancer_s_annotations() -> None:
    found = render(plan(), deployed(), "aws")
    ingress = one(found, "Ingress")
    action = yaml.safe_load(ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.wilting-leaf"])
    weights = {g["ServiceName"]: g["Weight"] for g in action["ForwardConfig"]["TargetGroups"]}
    assert weights == {"wilting-leaf-stable": 100, "wilting-leaf-canary": 0}
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "wilting-leaf", "port": {"name": "use-annotation"}}
    alb = one(found, "Rollout")["spec"]["strategy"]["canary"]["trafficRouting"]["alb"]
    assert alb["ingress"] == ingress["metadata"]["name"]
    services = {item["metadata"]["name"] for item in of_kind(found, "Service")}
    assert services == {"wilting-leaf", *weights}
    assert all(isinstance(value, str) for value in ingress["metadata"]["annotations"].values())


def test_users_of_an_ab_release_stay_with_the_load_balancer() -> None:
    found = render(plan("ab"), deployed(), "aws")
    assert one(found, "Rollout")["spec"]["strategy"]["canary"]["trafficRouting"]["alb"]["stickinessConfig"]["enabled"]
    assert any("kept on an arm by the load balancer's cookie" in sentence for sentence in found.unexpressed)


def test_the_load_balancer_is_not_kept_out() -> None:
    with pytest.raises(DeclarationError, match="caller_cidrs"):
        render(plan(), deployed(caller_cidrs=[]), "aws")


@pytest.mark.parametrize(("target", "router"), [("aws", "istio"), ("argo", "nginx"), ("flagger", "nginx")])
def test_a_shadow_that_would_get_no_requests_is_refused(target: str, router: str) -> None:
    with pytest.raises(DeclarationError, match="shadow release"):
        render(plan("shadow"), deployed(router=router), target)


SAID = {
    ("argo", "canary"): ["anytime-valid", "error budget", "sample-ratio", "Hold is a pause", "missing_features"],
    ("argo", "ab"): ["x-clearway-user", "What users do", "min_users"],
    ("argo", "shadow"): ["Pairs of answers", "gates are not checked"],
    ("argo", "blue_green"): ["gates are not checked", "kept for a day"],
    ("argo", "rolling"): ["anytime-valid", "smoke test is not made"],
    ("flagger", "canary"): [
        "anytime-valid",
        "error budget",
        "sample-ratio",
        "There is no hold",
        "smoke test",
        "last as",
    ],
    ("flagger", "ab"): ["x-clearway-user", "What users do", "min_users", "There is no hold"],
    ("flagger", "shadow"): ["Pairs of answers", "gates are not checked"],
    ("flagger", "rolling"): ["one by one"],
    ("aws", "canary"): ["anytime-valid", "Argo Rollouts writes its weights"],
}


@pytest.mark.parametrize(("target", "strategy"), list(SAID))
def test_what_a_target_cannot_do_is_said(target: str, strategy: str) -> None:
    found = render(plan(strategy), deployed(), target)
    said = " ".join(found.unexpressed)
    for words in SAID[target, strategy]:
        assert words in said, words
    moving = found.objects[-1]
    assert moving["kind"] in ("Rollout", "Canary")
    assert moving["metadata"]["annotations"]["clearway/unexpressed"].split("\n") == found.unexpressed
    assert moving["metadata"]["annotations"]["clearway/reason"] == "a test: it's {so}"
    assert all(f"# - {sentence}" in found.text() for sentence in found.unexpressed)


def test_the_text_is_the_objects() -> None:
    found = render(plan(), deployed(), "argo")
    assert list(yaml.safe_load_all(found.text())) == found.objects
    assert "&id" not in found.text()


def test_the_command(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.yaml").write_text("model: wilting_leaf\nstrategy: canary\n")
    (tmp_path / "deployed.yaml").write_text("image: registry.example/clearway:1\n")
    arguments = ["render", "--plan", str(tmp_path / "plan.yaml"), "--deployed", str(tmp_path / "deployed.yaml")]
    assert main([*arguments, "--version", "3", "--target", "flagger"]) == 0
    kinds = [item["kind"] for item in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds[-1] == "Canary"
    (tmp_path / "deployed.yaml").write_text("image: registry.example/clearway:1\nreplica: 2\n")
    assert main([*arguments, "--version", "3", "--target", "flagger"]) == 1
    assert "deployed.yaml: replica" in capsys.readouterr().err
    (tmp_path / "deployed.yaml").write_text("image: a:1\nreplicas: 9\n")
    with pytest.raises(DeclarationError, match="max_replicas"):
        read_deployed(tmp_path / "deployed.yaml")
