"""The rollout controller: ``python -m serving.rollout.controller``.

Each tick reads the logs, makes the world what they say, and moves each release one step: the step is logged first, and
takes effect by the reconciliation that follows. So a controller killed anywhere goes on where the log ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serving.errors import ClearwayError
from serving.models import registry
from serving.rollout import commands, kinds
from serving.rollout.gated import Gated
from serving.rollout.log import RolloutLog
from serving.rollout.plan import parse_plan
from serving.rollout.read import released_models
from serving.rollout.reconcile import Arms, Reconciler
from serving.rollout.record import decision_record
from serving.rollout.state import ModelState, Rollout, fold
from serving.rollout.submit import folder, take_back, waiting
from serving.routing.router import Router
from serving.runtime.arms import arm_name
from serving.runtime.program import free_port
from serving.settings import Settings, get_settings

log = logging.getLogger(__name__)
TICK_SECONDS = 0.25


class Controller:
    """Moves releases. One a home (a lock sees to it); ``tick`` may be called at any time, any number of times."""

    def __init__(self, settings: Settings, router: Router, arms: Arms) -> None:
        self.settings, self.router = settings, router
        self.reconciler = Reconciler(settings, router, arms)
        self.gated = Gated(settings, self._append, self._roll_back, self._grown)
        self._background = ThreadPoolExecutor(4, "probes")
        self._work: dict[tuple[str, str], Future[Any]] = {}
        self._since: dict[tuple[str, str], float] = {}
        self._told: dict[str, str] = {}
        self._cache: dict[str, tuple[tuple[int, int], ModelState]] = {}
        self._steps: dict[str, Callable[[ModelState, Rollout], None]] = {
            "submitted": self._start,
            "starting": self._await_ready,
            "ready": self._smoke,
            "smoked": self._switch,
            "stepped": self.gated.move,
            "shadowing": self.gated.move_shadow,
            "switched": self._alias,
            "aliased": self._complete,
        }

    def tick(self) -> None:
        """One round over all models. What goes wrong with one is logged and does not stop the others."""
        queue = waiting(self.settings)
        models = sorted({*released_models(self.settings), *(item["plan"]["model"] for item in queue)})
        states: dict[str, ModelState] = {}
        for model in models:
            self._guard(model, lambda m: states.__setitem__(m, self._state(m)))
        if len(states) < len(models):
            return  # with a log unread, its arms would look like nobody's
        self._guard("traffic", lambda _: self.reconciler.traffic(states.values()))
        self._guard("observations", lambda _: self.gated.feed(list(states.values())))
        for model, state in states.items():
            self._guard(f"alias of {model}", lambda _, s=state: self.reconciler.alias(s))  # type: ignore[misc]
            mine = [item for item in queue if item["plan"]["model"] == model]
            self._guard(model, lambda m, s=state, q=mine: self._move(m, s, q))  # type: ignore[misc]
        # What was decided takes effect now: with the next tick a failing version would get requests for that long.
        self._guard("decisions", lambda _: self.reconciler.traffic([self._state(model) for model in states]))

    def _guard(self, what: str, action: Callable[[str], object]) -> None:
        try:
            action(what)
            self._told.pop(what, None)
        except Exception as error:  # of any kind: the other models must go on, and the next tick tries again
            if self._told.get(what) != str(error):
                log.error("%s: %s", what, error, exc_info=not isinstance(error, ClearwayError))
                self._told[what] = str(error)

    def _state(self, model: str) -> ModelState:
        path = RolloutLog(model, self.settings).path
        mark = (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0)
        if model not in self._cache or self._cache[model][0] != mark:
            self._cache[model] = (mark, fold(model, RolloutLog(model, self.settings).entries()))
        return self._cache[model][1]

    def _move(self, model: str, state: ModelState, queue: list[dict[str, Any]]) -> None:
        for item in queue:
            if item["id"] in state.rollouts:  # killed between the log and here
                take_back(item["id"], self.settings)
        for arm, ident in list(state.draining.items()):
            self._drain(state, arm, ident)
        rollout = state.running
        if self._obeyed(model, rollout, state):
            return
        if rollout is not None:
            self._steps[rollout.phase](state, rollout)
            return
        fresh = [item for item in queue if item["id"] not in state.rollouts]
        if fresh:
            self._take(model, fresh[0])

    def _obeyed(self, model: str, rollout: Rollout | None, state: ModelState) -> bool:
        """Whether a command was carried out or refused; the state is another then."""
        for command in commands.waiting(self.settings):
            if command.model != model:
                continue
            if rollout is None or command.rollout != rollout.id or command.id in rollout.commands:
                commands.done(command, self.settings)  # logged before, or its rollout is over
                continue
            self.gated.obey(state, rollout, command)
            return True
        return False

    def _drain(self, state: ModelState, arm: str, ident: str) -> None:
        """Let go of an arm when it answers nothing any more, or when its time is up."""
        timeout = state.rollouts[ident].plan["drain_timeout_s"]
        waited = time.monotonic() - self._since.setdefault((ident, f"drain {arm}"), time.monotonic())
        idle = self.router.applied() and self.router.active(arm) == 0
        if idle or waited > timeout:
            self._append(state.model, "drained", "", arm=arm)

    def _append(self, model: str, kind: str, rollout: str, **data: Any) -> None:
        RolloutLog(model, self.settings).append(kind, rollout, **data)
        log.info("%s: rollout %s is %s", model, rollout, kind)

    def _take(self, model: str, item: dict[str, Any]) -> None:
        try:
            plan = parse_plan(item["plan"], item["id"])
        except ClearwayError as error:
            aside = folder(self.settings) / f"{item['id']}.json"
            os.replace(aside, aside.with_suffix(".refused"))
            raise ClearwayError(f"{error.what}. Kept as {aside.with_suffix('.refused')}") from error
        self._append(
            model, "submitted", item["id"], plan=plan.model_dump(mode="json"), submitted_at=item["submitted_at"]
        )
        take_back(item["id"], self.settings)

    def _waited(self, rollout: Rollout) -> float:
        """Seconds that this process has seen the phase; a clock that jumps and a machine that slept do not count."""
        return time.monotonic() - self._since.setdefault((rollout.id, rollout.phase), time.monotonic())

    # Steps

    def _start(self, state: ModelState, rollout: Rollout) -> None:
        try:
            if not self.reconciler.fetch(state.model, rollout.version):
                return
        except ClearwayError as error:
            self._roll_back(state, rollout, error.what)
            return
        name = arm_name(state.model, rollout.version)
        rolls = rollout.plan["strategy"] == "rolling" and state.stable not in (None, name)
        ports = list(state.arms[name].ports) if name in state.arms else []
        while len(ports) < (1 if rolls else rollout.plan["replicas"]):
            ports.append(self._free_port(ports))
        self._append(state.model, "starting", rollout.id, arm=name, ports=ports)

    def _free_port(self, also_taken: Iterable[int] = ()) -> int:
        taken = {p for m in released_models(self.settings) for ports in self._state(m).servers.values() for p in ports}
        return free_port(self.settings.host, {*taken, *also_taken})

    def _later(self, rollout: Rollout, work: Callable[[], Any]) -> tuple[Any] | None:
        """What ``work`` gave, once; None while it is under way. Ticks wait for no server: other models' must go on."""
        key = (rollout.id, rollout.phase)
        if key not in self._work:
            self._work[key] = self._background.submit(work)
        if not self._work[key].done():
            return None
        return (self._work.pop(key).result(),)

    def _unready(self, state: ModelState, rollout: Rollout, ports: Sequence[int]) -> tuple[str | None] | None:
        """Why a server of the release cannot answer yet, or None for it can; None instead while it is being asked."""

        def ask() -> str | None:
            asked = (kinds.readiness_problem(state.model, rollout.version, port, self.settings) for port in ports)
            return next(filter(None, asked), None)

        return self._later(rollout, ask)

    def _await_ready(self, state: ModelState, rollout: Rollout) -> None:
        assert rollout.arm is not None
        asked = self._unready(state, rollout, state.arms[rollout.arm].ports)
        if asked is None:
            return
        problem = asked[0]
        if problem is None and not self.router.applied():
            problem = "the router has not taken the new arm"
        if problem is None and not self.router.reaches(rollout.arm):
            problem = "the router's own health checks have not found all its servers"
        if problem is None:
            self._append(state.model, "ready", rollout.id)
        elif self._waited(rollout) > rollout.plan["ready_timeout_s"]:
            self._roll_back(
                state, rollout, f"{rollout.arm} was not ready in {rollout.plan['ready_timeout_s']:.0f} s: {problem}"
            )

    def _grown(self, state: ModelState, rollout: Rollout) -> bool:
        """Before a step of a rolling release: whether one more server is ready to answer. Starts it first."""
        if rollout.plan["strategy"] != "rolling":
            return True
        if rollout.joining is None:
            self._append(
                state.model, "grown", rollout.id, port=self._free_port(), elapsed_s=self.gated.elapsed(rollout)
            )
            return False
        asked = self._unready(state, rollout, (rollout.joining,))
        if asked == (None,):
            return True
        since = self._since.setdefault((rollout.id, f"port {rollout.joining}"), time.monotonic())
        if asked is not None and time.monotonic() - since > rollout.plan["ready_timeout_s"]:
            limit = rollout.plan["ready_timeout_s"]
            why = f"a further server of {rollout.arm} was not ready in {limit:.0f} s: {asked[0]}"
            self._roll_back(state, rollout, why, elapsed_s=self.gated.elapsed(rollout))
        return False

    def _smoke(self, state: ModelState, rollout: Rollout) -> None:
        assert rollout.arm is not None
        plan, arm = parse_plan(rollout.plan, rollout.id), rollout.arm
        tested = self._later(rollout, lambda: kinds.smoke_test(plan, arm, rollout.id, self.settings))
        if tested is not None:
            self._append(state.model, "smoked", rollout.id, evidence=tested[0])

    def _switch(self, state: ModelState, rollout: Rollout) -> None:
        assert rollout.smoke is not None
        assert rollout.arm is not None
        if not rollout.smoke["passed"]:
            self._roll_back(state, rollout, rollout.smoke["reason"])
            return
        if rollout.plan["strategy"] != "blue_green" and state.stable not in (None, rollout.arm):
            self.gated.begin(state, rollout)
            return
        weights = {**dict.fromkeys(state.weights, 0), rollout.arm: 100}
        self._append(state.model, "switched", rollout.id, weights=weights)

    def _alias(self, state: ModelState, rollout: Rollout) -> None:
        if self.router.applied():
            self._append(
                state.model, "aliased", rollout.id, alias=registry.CHAMPION, version=rollout.version, was=state.champion
            )

    def _complete(self, state: ModelState, rollout: Rollout) -> None:
        if self.reconciler.alias(state):
            record = decision_record(state, rollout, "completed", None, self.settings)
            self._append(state.model, "completed", rollout.id, record=record)

    def _roll_back(self, state: ModelState, rollout: Rollout, reason: str, **data: Any) -> None:
        record = decision_record(state, rollout, "rolled_back", reason, self.settings)
        if data.get("evidence"):
            record["evidence"] = data["evidence"]
        self._append(state.model, "rolled_back", rollout.id, reason=reason, record=record, **data)


def _only_one(settings: Settings) -> int:
    """Wait until no other controller has this home, and keep others out for the life of the process."""
    settings.rollouts.mkdir(parents=True, exist_ok=True)
    handle = os.open(Path(settings.rollouts) / ".controller.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        log.warning("another controller runs; waiting for it to end")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def main() -> None:
    from serving.runtime.arms import LocalArms
    from serving.runtime.supervisor import Supervisor

    run(LocalArms(Supervisor(get_settings())))


def run(arms: Arms) -> None:
    """Be the controller of this home, until the process ends."""
    from serving.routing.envoy import EnvoyRouter

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = get_settings()
    _only_one(settings)
    controller = Controller(settings, EnvoyRouter(settings), arms)
    while True:
        started = time.monotonic()
        controller.tick()
        time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
