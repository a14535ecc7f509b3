"""Rollouts under gates: feeds the evidence, logs the decisions. Part of the controller, apart from its other steps."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from serving.events.tail import SegmentTail
from serving.rollout import commands
from serving.rollout.decide import Decision, decide
from serving.rollout.evaluate import BASELINE_MOST, Evaluation, Look
from serving.rollout.observations import Observation, ObservationTail, Report, prune
from serving.rollout.plan import parse_plan
from serving.rollout.shadow import Answer, ShadowEvaluation, answers
from serving.rollout.shadow import decide as decide_shadow
from serving.rollout.state import ModelState, Rollout
from serving.runtime.arms import server_name
from serving.settings import Settings

log = logging.getLogger(__name__)
TIMELINE_SECONDS, PRUNE_SECONDS, KEEP_SECONDS, BEFORE_SECONDS = 1.0, 60.0, 3600.0, 900.0

Append = Callable[..., None]


class Gated:
    """Holds the evaluation of each rollout that is under gates.

    All that it knows is in the rollout log and in the observations, so that another controller comes to the same.

    Args:
        append: writes an entry to the rollout log: ``append(model, kind, rollout, **data)``.
        roll_back: ends a rollout: ``roll_back(state, rollout, reason, **data)``.
        grown: whether the servers that the next step needs are ready: ``grown(state, rollout)``.
    """

    def __init__(
        self, settings: Settings, append: Append, roll_back: Append, grown: Callable[[ModelState, Rollout], bool]
    ) -> None:
        self._settings, self._append, self._roll_back, self._grown = settings, append, roll_back, grown
        self._tail = ObservationTail(settings)
        self._evaluations: dict[str, Evaluation] = {}
        self._shadows: dict[str, tuple[ShadowEvaluation, SegmentTail[Answer]]] = {}
        self._recent: dict[tuple[str, str], deque[Observation]] = {}
        self._seen: dict[tuple[str, int], float] = {}
        self._drawn: dict[str, float] = {}
        self._pruned = 0.0

    def feed(self, states: list[ModelState]) -> None:
        """Take in what was observed since the last tick."""
        observations = self._tail.read()
        for seen in observations:
            if isinstance(seen, Observation) and seen.rollout is None:
                recent = self._recent.setdefault((seen.model, seen.arm), deque(maxlen=BASELINE_MOST))
                recent.append(seen)
        running = [s.running for s in states if s.running is not None and s.running.percent is not None]
        for rollout in running:
            self._evaluation(rollout)
        for ident in set(self._evaluations) - {r.id for r in running}:
            del self._evaluations[ident]
        of_model = {r.model: r.id for r in running}
        by_rollout: dict[str, list[Observation | Report]] = {}
        for observation in observations:
            if isinstance(observation, Report):
                if observation.model in of_model:
                    by_rollout.setdefault(of_model[observation.model], []).append(observation)
                continue
            if observation.rollout in self._evaluations:
                by_rollout.setdefault(observation.rollout, []).append(observation)
        for ident, found in by_rollout.items():
            self._evaluations[ident].take(found)
        shadows = [(s, s.running) for s in states if s.running is not None and s.running.phase == "shadowing"]
        for state, rollout in shadows:
            evaluation, tail = self._shadow(state, rollout)
            evaluation.take(tail.read())
            evaluation.compare([o for o in observations if isinstance(o, Observation) and o.rollout == rollout.id])
        for ident in set(self._shadows) - {r.id for _, r in shadows}:
            del self._shadows[ident]
        if not running and not shadows and time.monotonic() - self._pruned > PRUNE_SECONDS:
            # Never during a rollout: a controller that starts anew reads it from its beginning.
            self._pruned = time.monotonic()
            prune(self._settings, KEEP_SECONDS)

    def _evaluation(self, rollout: Rollout) -> Evaluation:
        if rollout.id not in self._evaluations:
            assert rollout.arm is not None
            plan = parse_plan(rollout.plan, rollout.id)
            evaluation = Evaluation(plan, rollout.id, rollout.arm, rollout.baseline)
            began = next(e for e in rollout.entries if e["type"] == "stepped")
            until = datetime.fromisoformat(began["at"]).timestamp()
            (stable,) = [arm for arm, weight in began["weights"].items() if weight and arm != rollout.arm]
            recent = self._recent.get((rollout.model, stable), ())
            evaluation.prepare([o for o in recent if until - BEFORE_SECONDS < o.at <= until])
            self._evaluations[rollout.id] = evaluation
        if rollout.resumed_at is not None:
            self._evaluations[rollout.id].count_split_from(datetime.fromisoformat(rollout.resumed_at).timestamp())
        return self._evaluations[rollout.id]

    def _shadow(self, state: ModelState, rollout: Rollout) -> tuple[ShadowEvaluation, SegmentTail[Answer]]:
        if rollout.id not in self._shadows:
            assert rollout.arm is not None
            assert state.stable is not None
            (began,) = [e["at"] for e in rollout.entries if e["type"] == "shadowing"]
            plan, since = parse_plan(rollout.plan, rollout.id), datetime.fromisoformat(began).timestamp()
            servers = [server_name(a, n) for a in (state.stable, rollout.arm) for n in range(len(state.arms[a].ports))]
            tail = answers(self._settings, tuple(servers))
            self._shadows[rollout.id] = (ShadowEvaluation(plan, rollout.arm, since), tail)
        return self._shadows[rollout.id]

    def move_shadow(self, state: ModelState, rollout: Rollout) -> None:
        """One tick of a release whose answers nobody sees."""
        evaluation, _ = self._shadow(state, rollout)
        elapsed, look = self.elapsed(rollout), evaluation.look()
        decision = decide_shadow(evaluation.plan, elapsed - rollout.resumed_elapsed_s, rollout.stopped, look)
        if decision.action == "promote" and evaluation.plan.shadow_first:
            self._step(state, rollout, 0, decision.why, look, elapsed=0.0)  # the steps have a deadline of their own
        elif decision.action == "promote":
            self._step(state, rollout, len(evaluation.plan.steps) - 1, decision.why, look, elapsed)
        else:
            self._carry_out(state, rollout, decision, look, elapsed)

    def begin(self, state: ModelState, rollout: Rollout) -> None:
        """From a passed smoke test to the first step, or to copies of users' requests."""
        why = "the smoke test passed"
        if rollout.plan["strategy"] == "shadow" or rollout.plan.get("shadow_first"):
            self._append(state.model, "shadowing", rollout.id, why=why, elapsed_s=0.0)
        else:
            self._step(state, rollout, 0, why, None, elapsed=0.0)

    def _step(
        self, state: ModelState, rollout: Rollout, step: int, why: str, look: Look | None, elapsed: float, **more: Any
    ) -> None:
        percent = rollout.plan["steps"][step]["weight"]
        assert rollout.arm is not None
        assert state.stable is not None
        weights = {**dict.fromkeys(state.weights, 0), state.stable: 100 - percent, rollout.arm: percent}
        kind = "switched" if percent == 100 else "stepped"
        evidence = {"evidence": look.as_json()} if look is not None else {}
        self._append(
            state.model, kind, rollout.id, step=step, weights=weights, why=why, elapsed_s=elapsed, **evidence, **more
        )

    def elapsed(self, rollout: Rollout) -> float:
        """Seconds under gates. Of a time in which no controller ran nothing counts, nor of a clock that jumps."""
        now = time.monotonic()
        return rollout.elapsed_s + now - self._seen.setdefault((rollout.id, len(rollout.entries)), now)

    def move(self, state: ModelState, rollout: Rollout) -> None:
        """One tick of a rollout under gates."""
        assert rollout.step is not None
        evaluation = self._evaluation(rollout)
        plan, elapsed = evaluation.plan, self.elapsed(rollout)
        if rollout.baseline is None and evaluation.baseline is not None:
            self._append(state.model, "baselined", rollout.id, baseline=evaluation.baseline, elapsed_s=elapsed)
            return
        look = evaluation.look()
        self._draw(rollout, look, elapsed)
        in_step, undecided = elapsed - rollout.step_elapsed_s, elapsed - rollout.resumed_elapsed_s
        decision = decide(plan, rollout.step, in_step, undecided, rollout.stopped, look)
        self._carry_out(state, rollout, decision, look, elapsed)

    def _carry_out(self, state: ModelState, rollout: Rollout, decision: Decision, look: Look, elapsed: float) -> None:
        if decision.action == "roll_back":
            self._roll_back(state, rollout, decision.why, evidence=look.as_json(), elapsed_s=elapsed)
        elif decision.action == "hold":
            self._append(
                state.model, "held", rollout.id, reason=decision.why, evidence=look.as_json(), elapsed_s=elapsed
            )
        elif decision.action in ("advance", "promote"):
            assert rollout.step is not None
            if self._grown(state, rollout):
                self._step(state, rollout, rollout.step + 1, decision.why, look, elapsed)

    def obey(self, state: ModelState, rollout: Rollout, command: commands.Command) -> None:
        """Carry out a command, or say in the log why not."""
        elapsed = self.elapsed(rollout)
        said = {"command": command.id, "by": command.by, "reason": command.reason, "elapsed_s": elapsed}
        gated, look = rollout.gated, self._look(rollout)
        if command.action == "pause" and gated and rollout.stopped is None:
            self._append(state.model, "paused", rollout.id, **said)
        elif command.action == "resume" and rollout.stopped is not None:
            self._append(state.model, "resumed", rollout.id, **said)
        elif command.action == "promote" and gated:
            last = len(rollout.plan["steps"]) - 1
            del said["elapsed_s"]
            self._step(state, rollout, last, f"promoted by {command.by}: {command.reason}", look, elapsed, **said)
        elif command.action == "abort" and rollout.phase not in ("switched", "aliased"):
            evidence = look.as_json() if look is not None else None
            reason = f"aborted by {command.by}: {said.pop('reason')}"
            self._roll_back(state, rollout, reason, evidence=evidence, **said)
        else:
            why = f"a rollout that is {rollout.stopped or rollout.phase} cannot {command.action}"
            self._append(state.model, "command_refused", rollout.id, action=command.action, why=why, **said)

    def _look(self, rollout: Rollout) -> Look | None:
        if rollout.id in self._evaluations:
            return self._evaluations[rollout.id].look()
        return self._shadows[rollout.id][0].look() if rollout.id in self._shadows else None

    def _draw(self, rollout: Rollout, look: Look, elapsed: float) -> None:
        """A point of the timeline, for people; it decides nothing, so that it may be lost."""
        if time.monotonic() - self._drawn.get(rollout.id, float("-inf")) < TIMELINE_SECONDS:
            return
        self._drawn[rollout.id] = time.monotonic()
        point = {"at": time.time(), "elapsed_s": round(elapsed, 2), "percent": rollout.percent, **look.as_json()}
        try:
            with timeline_file(self._settings, rollout.model, rollout.id).open("a") as file:
                file.write(json.dumps(point) + "\n")
        except OSError as error:
            log.warning("timeline of %s is not written: %s", rollout.id, error)


def timeline_file(settings: Settings, model: str, rollout: str) -> Path:
    """Where the points of a rollout's timeline lie, one JSON line a second."""
    return settings.rollouts / model / f"{rollout}.timeline.jsonl"
