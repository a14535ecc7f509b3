"""Envoy's files say what the weights say."""

from __future__ import annotations

from typing import Any

from serving.routing import config


def of_model(
    weights: dict[str, dict[str, int]],
    splits: dict[str, str] | None = None,
    mirrors: dict[str, list[Any]] | None = None,
    streams: bool = False,
) -> list[dict[str, Any]]:
    (resource,) = config.routes(weights, splits, mirrors)["resources"]
    routes = resource["virtual_hosts"][0]["routes"]
    return [r for r in routes if r["match"]["prefix"].endswith("/v1/") == streams]


def test_arms_with_weight_share_traffic_and_all_arms_can_be_addressed() -> None:
    routes = of_model({"m": {"m-v1": 90, "m-v2": 10, "m-v3": 0}})
    addressed = [r["route"]["cluster"] for r in routes if "cluster" in r.get("route", {})]
    assert addressed == ["m-v1", "m-v2", "m-v3"]
    (split,) = [
        r["route"]["weighted_clusters"]["clusters"] for r in routes if "weighted_clusters" in r.get("route", {})
    ]
    assert [(arm["name"], arm["weight"]) for arm in split] == [("m-v1", 90), ("m-v2", 10)]
    retries = {r["route"]["retry_policy"]["retry_on"] for r in routes if "route" in r}
    assert retries == {"connect-failure,reset-before-request,retriable-headers"}


def test_without_weight_a_model_answers_503_and_without_model_404() -> None:
    routes = of_model({"m": {"m-v1": 0}})
    assert [r["direct_response"]["status"] for r in routes if "direct_response" in r] == [404, 503, 404]
    assert [r["direct_response"]["status"] for r in of_model({})] == [404]


def test_the_version_is_that_of_the_content() -> None:
    one, same = (config.routes({"m": {"a": 1, "b": 2}}), config.routes({"m": {"b": 2, "a": 1}}))
    assert one["version_info"] == same["version_info"]
    assert one["version_info"] != config.routes({"m": {"a": 2, "b": 1}})["version_info"]


def test_names_are_resolved_and_addresses_are_not() -> None:
    found = config.clusters({"a": "127.0.0.1:1", "b": "arm.models.svc:80"})["resources"]
    assert [cluster["type"] for cluster in found] == ["STATIC", "STRICT_DNS"]


def test_answers_are_stamped_with_arm_and_split() -> None:
    routes = of_model({"m": {"m-v1": 90, "m-v2": 10}}, {"m": "r-1:10"})
    (drawn,) = [
        r["route"]["weighted_clusters"]["clusters"] for r in routes if "weighted_clusters" in r.get("route", {})
    ]
    for arm in drawn:
        stamps = {h["header"]["key"]: h["header"]["value"] for h in arm["response_headers_to_add"]}
        assert stamps == {"x-clearway-arm": arm["name"], "x-clearway-split": "r-1:10"}
    addressed = [r for r in routes if "cluster" in r.get("route", {})]
    assert all(len(r["response_headers_to_add"]) == 1 for r in addressed), "a smoke test is part of no split"


def test_copies_of_requests_go_to_the_mirror() -> None:
    routes = of_model({"m": {"m-v1": 100, "m-v2": 0}}, None, {"m": ["m-v2", 25]})
    (drawn,) = [r["route"] for r in routes if "weighted_clusters" in r.get("route", {})]
    (mirror,) = drawn["request_mirror_policies"]
    assert (mirror["cluster"], mirror["runtime_fraction"]["default_value"]["numerator"]) == ("m-v2", 25)
    assert not any("request_mirror_policies" in r["route"] for r in routes if "cluster" in r.get("route", {}))


def test_streams_have_no_time_limit_but_may_not_be_silent() -> None:
    plain, streams = (of_model({"m": {"m-v1": 100}}, streams=s) for s in (False, True))
    (drawn,) = [r["route"] for r in plain if "weighted_clusters" in r.get("route", {})]
    (stream,) = [r["route"] for r in streams if "weighted_clusters" in r.get("route", {})]
    assert (drawn["timeout"], drawn["prefix_rewrite"]) == ("30s", "/")
    assert (stream["timeout"], stream["idle_timeout"], stream["prefix_rewrite"]) == ("0s", "120s", "/v1/")
    everything = config.routes({"m": {"m-v1": 100}})["resources"][0]["virtual_hosts"][0]["routes"]
    assert everything.index(streams[0]) < everything.index(plain[0]), "the longer prefix is looked at first"


def test_of_several_servers_only_the_ready_ones_are_asked_and_one_alone_always() -> None:
    one, two = config.clusters({"a": "127.0.0.1:1", "b": "127.0.0.1:2,127.0.0.1:3"})["resources"]
    assert "health_checks" not in one
    (check,) = two["health_checks"]
    assert check["http_health_check"]["path"] == "/health"
    (group,) = two["load_assignment"]["endpoints"]
    ports = [e["endpoint"]["address"]["socket_address"]["port_value"] for e in group["lb_endpoints"]]
    assert ports == [2, 3]
