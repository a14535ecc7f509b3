"""Envoy's configuration as plain data: bootstrap, clusters (CDS) and routes (RDS). Pure functions."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.routing.router import ARM_HEADER, DRAW_HEADER, NOT_READY_HEADER, SPLIT_HEADER

CDS_FILE, RDS_FILE = "clusters.json", "routes.json"
STAT_PREFIX, ROUTES = "models", "models"
REQUEST_TIMEOUT = "30s"
# A language model streams for minutes; what may not happen is silence.
STREAM_PATH, SILENCE_TIMEOUT = "v1/", "120s"
HEALTH_PATH = "/health"
# The model servers keep idle connections longer, so the router is always the one that closes.
UPSTREAM_IDLE = "60s"
_TYPE = "type.googleapis.com/envoy"


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def bootstrap(folder: Path, host: str, port: int, admin_port: int) -> dict[str, Any]:
    """Static part: one listener and the admin page, both on ``host``; clusters and routes from watched files."""

    def watched(name: str) -> dict[str, Any]:
        # A file is replaced by rename: the folder is what changes.
        return {"path": str(folder / name), "watched_directory": {"path": str(folder)}}

    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        # The gateway names the request; the id it gave is the one that events and logs carry.
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "use_remote_address": False,
        "server_header_transformation": "PASS_THROUGH",
        "rds": {
            "route_config_name": ROUTES,
            "config_source": {"resource_api_version": "V3", "path_config_source": watched(RDS_FILE)},
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "node": {"id": "clearway", "cluster": "clearway"},
        "admin": {"address": _address(host, admin_port)},
        "dynamic_resources": {
            "cds_config": {"resource_api_version": "V3", "path_config_source": watched(CDS_FILE)},
        },
        "static_resources": {
            "listeners": [
                {
                    "name": "models",
                    "address": _address(host, port),
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ]
        },
    }


def _discovery(resources: list[dict[str, Any]]) -> dict[str, Any]:
    content = json.dumps(resources, sort_keys=True)
    return {"version_info": hashlib.sha256(content.encode()).hexdigest()[:16], "resources": resources}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_READY_ONLY = {
    "health_checks": [
        {
            "timeout": "1s",
            "interval": "1s",
            "no_traffic_interval": "1s",
            "healthy_threshold": 1,
            "unhealthy_threshold": 1,
            "http_health_check": {"path": HEALTH_PATH},
        }
    ],
    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
}


def clusters(arms: Mapping[str, str]) -> dict[str, Any]:
    """CDS response: one cluster an arm, of one or more servers (``host:port``, joined by commas).

    Of several servers those that are not ready are left out. One alone is asked whatever it says of itself: there is no
    other, and its own words are better than the router's.
    """
    found = []
    for arm, addresses in sorted(arms.items()):
        servers = [(host, int(port)) for host, _, port in (a.rpartition(":") for a in addresses.split(","))]
        endpoints = [{"endpoint": {"address": _address(host, port)}} for host, port in servers]
        found.append(
            {
                "@type": f"{_TYPE}.config.cluster.v3.Cluster",
                "name": arm,
                "type": "STATIC" if all(_is_address(host) for host, _ in servers) else "STRICT_DNS",
                "connect_timeout": "1s",
                "load_assignment": {"cluster_name": arm, "endpoints": [{"lb_endpoints": endpoints}]},
                **(_READY_ONLY if len(servers) > 1 else {}),
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "common_http_protocol_options": {"idle_timeout": UPSTREAM_IDLE},
                        "explicit_http_config": {"http_protocol_options": {}},
                    }
                },
            }
        )
    return _discovery(found)


def _refusal(status: int, reason: str, message: str) -> dict[str, Any]:
    body = json.dumps({"error": {"reason": reason, "message": message}})
    return {"status": status, "body": {"inline_string": body}}


def _stamp(arm: str, split: str | None = None) -> dict[str, Any]:
    """Answers say which arm gave them, and by which split it was drawn. A caller's own headers of that name go."""
    values = {ARM_HEADER: arm, **({SPLIT_HEADER: split} if split else {})}
    action = "OVERWRITE_IF_EXISTS_OR_ADD"
    added = [{"header": {"key": k, "value": v}, "append_action": action} for k, v in values.items()]
    return {"response_headers_to_add": added}


def _action(target: Mapping[str, Any], streams: bool = False) -> dict[str, Any]:
    limits = {"timeout": "0s", "idle_timeout": SILENCE_TIMEOUT} if streams else {"timeout": REQUEST_TIMEOUT}
    return {
        **target,
        "prefix_rewrite": f"/{STREAM_PATH}" if streams else "/",
        **limits,
        # A POST that a server may have begun is never sent twice: only what did not reach one, or what one refused
        # because it is not ready yet.
        "retry_policy": {
            "retry_on": "connect-failure,reset-before-request,retriable-headers",
            "retriable_headers": [{"name": NOT_READY_HEADER, "present_match": True}],
            "num_retries": 2,
            "host_selection_retry_max_attempts": 3,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
        },
    }


def _model_routes(
    model: str, weights: Mapping[str, int], split: str | None, mirror: Sequence[Any] | None, sticky: bool
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for streams in (True, False):
        prefix = {"prefix": f"/models/{model}/{STREAM_PATH if streams else ''}"}
        for arm in sorted(weights):
            header = {"name": ARM_HEADER, "string_match": {"exact": arm}}
            addressed = {**prefix, "headers": [header]}
            found.append({"match": addressed, "route": _action({"cluster": arm}, streams), **_stamp(arm)})
        found.append(
            {
                "match": {**prefix, "headers": [{"name": ARM_HEADER, "present_match": True}]},
                "direct_response": _refusal(404, "unknown_arm", f"model {model} has no arm of that name"),
            }
        )
        drawn = [
            {"name": arm, "weight": weight, **_stamp(arm, split)} for arm, weight in sorted(weights.items()) if weight
        ]
        if drawn:
            by_user = {"header_name": DRAW_HEADER} if sticky else {}
            target: dict[str, Any] = {"weighted_clusters": {"clusters": drawn, **by_user}}
            if mirror is not None and not streams:  # of language models the gateway asks both, to compare them
                share = {"default_value": {"numerator": mirror[1], "denominator": "HUNDRED"}}
                target["request_mirror_policies"] = [{"cluster": mirror[0], "runtime_fraction": share}]
            found.append({"match": prefix, "route": _action(target, streams)})
        else:
            refusal = _refusal(503, "no_arm", f"no version of model {model} receives traffic")
            found.append({"match": prefix, "direct_response": refusal})
    return found


def routes(
    weights: Mapping[str, Mapping[str, int]],
    splits: Mapping[str, str] | None = None,
    mirrors: Mapping[str, Sequence[Any]] | None = None,
    sticky: Collection[str] = (),
) -> dict[str, Any]:
    """RDS response: ``/models/<model>/`` to the model's arms by weight, or to one arm by header.

    Args:
        splits: the name of each model's split, when it has one.
        mirrors: arm and percent of the copies of a model's requests, when there are any.
        sticky: models whose arms are drawn by user.
    """
    named, copied = splits or {}, mirrors or {}
    found = [
        route
        for model in sorted(weights)
        for route in _model_routes(model, weights[model], named.get(model), copied.get(model), model in sticky)
    ]
    unknown = _refusal(404, "unknown_model", "no such model is routed")
    found.append({"match": {"prefix": "/"}, "direct_response": unknown})
    hosts = [{"name": "models", "domains": ["*"], "routes": found}]
    return _discovery(
        [{"@type": f"{_TYPE}.config.route.v3.RouteConfiguration", "name": ROUTES, "virtual_hosts": hosts}]
    )
