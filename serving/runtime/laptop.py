"""The serving processes of a laptop: Envoy, the rollout controller (which brings up the arms) and the gateway."""

from __future__ import annotations

import time

from serving.runtime.program import Program, clearway_environment, python
from serving.runtime.supervisor import RuntimeFault, Supervisor
from serving.settings import Settings, get_settings

ENVOY, CONTROLLER, GATEWAY = "envoy", "rollout-controller", "gateway"


def start_serving(settings: Settings | None = None, wait_seconds: float = 60.0) -> Supervisor:
    """Bring up everything that answers predictions, or attach to what runs. Idempotent.

    Args:
        wait_seconds: how long to wait for the gateway to answer; 0 does not wait.

    Raises:
        RuntimeFault: a process does not come up.
    """
    from serving.routing.envoy import EnvoyRouter

    settings = settings or get_settings()
    supervisor = Supervisor(settings)
    supervisor.ensure_running()
    router = EnvoyRouter(settings)
    router.prepare()
    environment = clearway_environment(settings)
    supervisor.add_program(Program(ENVOY, tuple(router.command()), environment, priority=100, stop_seconds=10))
    supervisor.add_program(Program(CONTROLLER, python("serving.rollout.controller"), environment, priority=200))
    supervisor.add_program(Program(GATEWAY, python("serving.gateway.app"), environment, priority=400))
    if wait_seconds:
        _wait(settings, wait_seconds)
    return supervisor


def _wait(settings: Settings, seconds: float) -> None:
    import httpx

    deadline = time.monotonic() + seconds
    reason = "no answer"
    while time.monotonic() < deadline:
        try:
            response = httpx.get(f"{settings.gateway_url}/healthz", timeout=2)
            if response.status_code == 200:
                return
            reason = response.text
        except httpx.HTTPError as error:
            reason = str(error)
        time.sleep(0.1)
    raise RuntimeFault(
        f"the gateway does not answer on {settings.gateway_url} after {seconds:.0f} s: {reason}",
        untouched="the stores.",
        todo=f"look at the logs in {settings.runtime / 'logs'}; is the port taken (CLEARWAY_GATEWAY_PORT)?",
    )


def stop_all(settings: Settings | None = None) -> list[int]:
    """Stop supervisord and everything it runs; no process of this home is left afterwards. See Supervisor.stop."""
    return Supervisor(settings or get_settings()).stop()
