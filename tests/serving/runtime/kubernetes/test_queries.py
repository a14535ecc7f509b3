"""The queries of a rendered plan, asked of a real Prometheus that scrapes real servers."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.llm import paths
from serving.runtime.kubernetes import queries
from serving.runtime.kubernetes.__main__ import render
from serving.runtime.program import clearway_environment, free_port, python
from serving.settings import Settings
from tests.serving.models import toy
from tests.serving.runtime.kubernetes.test_render import deployed, of_kind, plan

PROMETHEUS = shutil.which("prometheus")
WINDOW_S = 20
SITE = paths.ENVIRONMENT / "lib"


@dataclass
class Metrics:
    """A Prometheus, asked by its own API."""

    url: str

    def ask(self, query: str) -> list[float]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=10)
        assert answer.status_code == 200, answer.text
        return [float(found["value"][1]) for found in answer.json()["data"]["result"]]


def rendered(kind: str, least: int = 20) -> dict[str, str]:
    """Every query that is rendered for a canary, by where it stands; arguments filled in as Argo does."""
    model = {"model": toy.MODEL, "version": "2"}
    where = deployed(kind, window_s=WINDOW_S, metric_labels={"namespace": "garden"})
    found: dict[str, str] = {}
    for template in of_kind(render(plan(**model), where, "argo"), "AnalysisTemplate"):
        for measure in template["spec"]["metrics"]:
            if "prometheus" in measure["provider"]:
                query = measure["provider"]["prometheus"]["query"].replace("{{args.min-requests}}", str(least))
                found[f"{template['metadata']['name']}/{measure['name']}"] = query
    for template in of_kind(render(plan(**model), where, "flagger"), "MetricTemplate"):
        found[template["metadata"]["name"]] = template["spec"]["query"]
    return found


def until(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.2)


def language_model(version: str, slower: float) -> int:
    """A port where what vLLM exports stands, under vLLM's names; each call of it adds to the numbers."""
    from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
    from prometheus_client.core import Metric

    registry, labels = CollectorRegistry(), ["model_name", "engine"]
    own = (toy.MODEL, "0")
    names = [name.removesuffix("_bucket") for (kind, _), name in queries.LATENCIES.items() if kind == "llm"]
    times = [Histogram(name, "seconds", labels, registry=registry).labels(*own) for name in names]
    done = Counter("vllm:request_success", "requests", [*labels, "finished_reason"], registry=registry)
    calls = Counter("http_requests", "calls", ["handler", "method", "status"], registry=registry)

    class Busy:
        def collect(self) -> list[Metric]:
            for each in times:
                each.observe(0.1 * slower)
            done.labels(*own, "stop").inc(10)
            calls.labels("/v1/chat/completions", "POST", "2xx").inc(9)
            calls.labels("/v1/chat/completions", "POST", "5xx" if version == "2" else "2xx").inc(1)
            return []

    busy = CollectorRegistry()
    busy.register(Busy())  # type: ignore[arg-type]

    class Both:
        def collect(self) -> Iterator[Metric]:
            yield from busy.collect()
            yield from registry.collect()

    together = CollectorRegistry()
    together.register(Both())  # type: ignore[arg-type]
    port = free_port()
    start_http_server(port, "127.0.0.1", together)
    return port


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    if PROMETHEUS is None:
        pytest.skip("no prometheus on the path: the Debian package `prometheus` has it")
    folder: Path = tmp_path_factory.mktemp("home")
    settings = toy.home(folder, versions=2)
    servers: dict[str, int] = {}
    processes = []
    try:
        for version in ("1", "2"):
            servers[version] = free_port(taken=servers.values())
            processes.append(_server(settings, version, servers[version]))
        models = {version: language_model(version, 1 + int(version)) for version in ("1", "2")}
        process, found = _prometheus(folder, servers, models)
        processes.append(process)
        for port in servers.values():
            until("ready", lambda at=port: httpx.get(f"http://127.0.0.1:{at}/readyz").status_code == 200)
        yield _busy(found, servers)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def _server(settings: Settings, version: str, port: int) -> subprocess.Popen[bytes]:
    command = python("serving.models.server", "--model", toy.MODEL, "--version", version, "--port", str(port))
    return subprocess.Popen(command, env=clearway_environment(settings))


def _prometheus(folder: Path, *arms: dict[str, int]) -> tuple[subprocess.Popen[bytes], Metrics]:
    # As a scrape of pods does it: their labels become the targets'.
    targets = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"namespace": "garden", "model": toy.MODEL, "version": version},
        }
        for ports in arms
        for version, port in ports.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "pods", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port(taken=[p for ports in arms for p in ports.values()])}"
    command = [
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    return subprocess.Popen(command, cwd=folder), Metrics(f"http://{address}")


def _busy(metrics: Metrics, servers: dict[str, int]) -> Metrics:
    """Ask both versions some times between scrapes; of version 2's requests every second one is refused."""

    def silent() -> list[str]:
        for version, port in servers.items():
            for number in range(6):
                crop = "oak" if version == "2" and number % 2 else "kale"
                httpx.post(f"http://127.0.0.1:{port}/predict", json={"requests": [{**toy.REQUEST, "crop": crop}]})
        asked = [(f"{kind} {name}", query) for kind in ("tabular", "llm") for name, query in rendered(kind).items()]
        return [name for name, query in asked if not _finite(metrics, query)]

    deadline = time.monotonic() + 60
    while (left := silent()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left
    return metrics


def _finite(metrics: Metrics, query: str) -> bool:
    found = metrics.ask(query)
    return len(found) == 1 and math.isfinite(found[0])


@pytest.mark.integration
def test_every_query_of_a_model_server_answers_one_number(metrics: Metrics) -> None:
    asked = rendered("tabular")
    gates = {"errors", "latency-p95", "refused"}
    assert {name.rpartition("/")[2] for name in asked if "/" in name} == gates
    assert {f"wilting-{gate}" for gate in gates} <= set(asked)
    for name, query in asked.items():
        assert _finite(metrics, query), name
    (refused,) = metrics.ask(asked["wilting-gates/refused"])
    assert 0.2 < refused < 0.8
    assert metrics.ask(asked["wilting-gates/errors"]) == [0]


@pytest.mark.integration
def test_every_query_of_a_language_model_answers_one_number(metrics: Metrics) -> None:
    asked = rendered("llm")
    for name, query in asked.items():
        assert _finite(metrics, query), name
    (errors,) = metrics.ask(asked["wilting-gates/errors"])
    assert errors == pytest.approx(0.1, abs=0.02)
    (slower,) = metrics.ask(asked["wilting-gates/ttft-p90"])
    assert slower > 0


@pytest.mark.integration
def test_a_metric_that_no_server_exports_answers_nothing(metrics: Metrics) -> None:
    for kind in ("tabular", "llm"):
        for name, query in rendered(kind).items():
            names = re.findall(r"clearway_model_\w+|vllm\[:_\]\w+", query)
            assert names
            for metric in names:
                assert not _finite(metrics, query.replace(metric, f"{metric}_of_old")), (name, metric)


@pytest.mark.integration
def test_too_few_requests_answer_nothing(metrics: Metrics) -> None:
    for kind in ("tabular", "llm"):
        asked = {name: query for name, query in rendered(kind, least=10**9).items() if "/" in name}
        assert asked
        assert {tuple(metrics.ask(query)) for query in asked.values()} == {()}


def test_vllm_s_own_code_has_the_names() -> None:
    found = sorted(SITE.glob("python3.*/site-packages/vllm/v1/metrics/loggers.py"))
    if not found:
        pytest.skip("vLLM is not installed; make llm does it")
    code = found[0].read_text()
    for (kind, _), metric in queries.LATENCIES.items():
        assert kind != "llm" or f'name="{metric.removesuffix("_bucket")}"' in code, metric
    assert f'name="{queries.ANSWERED["llm"].removesuffix("_total")}"' in code
    (calls,) = SITE.glob("python3.*/site-packages/prometheus_fastapi_instrumentator/metrics.py")
    assert queries.REQUESTS["llm"] in calls.read_text()
