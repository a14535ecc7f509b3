"""Compares a shadow's answers with stable's, pair by pair.

Of tabular models both servers record what they answered, by request id. Of language models the gateway asks both and
records how far the two texts are apart.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import orjson

from serving.events.tail import SegmentTail
from serving.rollout.decide import Decision
from serving.rollout.evaluate import GateLook, Look
from serving.rollout.evidence import PairEvidence
from serving.rollout.observations import DIFFERENCE, Observation
from serving.rollout.plan import ReleasePlan
from serving.settings import Settings

log = logging.getLogger(__name__)
GATE = "agreement"
# A copy that left no event by now was not answered.
LOST_SECONDS = 10.0
REMEMBERED = 100_000


@dataclass(frozen=True)
class Answer:
    """What one server answered to one request; ``at`` in seconds since the epoch."""

    at: float
    request_id: str
    arm: str
    score: float


def answers(settings: Settings, arms: tuple[str, ...]) -> SegmentTail[Answer]:
    """Follows the events of these arms."""
    return SegmentTail(settings.events, _parse, arms)


def _parse(line: bytes) -> Answer | None:
    try:
        event = orjson.loads(line)
        at = datetime.fromisoformat(event["served_at"]).timestamp()
        return Answer(at, str(event["request_id"]), str(event["arm"]), float(event["score"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        log.error("a line of the events is passed over: %s", error)
        return None


class ShadowEvaluation:
    """Judges one shadow release; the same answers always give the same look.

    Two answers disagree when their scores differ by more than the plan's tolerance. A request that stable answered and
    the shadow did not is a disagreement too, when all requests are copied.

    Args:
        since: seconds since the epoch; earlier answers are of before the release.
    """

    def __init__(self, plan: ReleasePlan, arm: str, since: float) -> None:
        self.plan, self.arm, self.since = plan, arm, since
        self._evidence = PairEvidence(1 - plan.shadow.min_agreement)
        self._stable: OrderedDict[str, Answer] = OrderedDict()
        self._new: OrderedDict[str, Answer] = OrderedDict()
        self._now = since
        self.pairs = self.disagreed = self.lost = 0

    def take(self, found: Sequence[Answer]) -> None:
        """Take answers of both arms, in any order."""
        outcomes: list[float] = []
        for answer in found:
            if answer.at < self.since:
                continue
            mine, others = (self._new, self._stable) if answer.arm == self.arm else (self._stable, self._new)
            other = others.pop(answer.request_id, None)
            if other is None:
                mine[answer.request_id] = answer
                while len(mine) > REMEMBERED:
                    mine.popitem(last=False)
            else:
                outcomes.append(float(abs(answer.score - other.score) > self.plan.shadow.tolerance))
            self._now = max(self._now, answer.at)
        self.disagreed += int(sum(outcomes))
        if self.plan.shadow.percent == 100:
            outcomes += [1.0] * self._drop_lost()
        self.pairs += len(outcomes)
        self._evidence.update(np.array(outcomes))

    def compare(self, found: Sequence[Observation]) -> None:
        """Take pairs that the gateway compared; a copy that was not answered is as far apart as can be."""
        apart = [o.measures[DIFFERENCE] for o in found if DIFFERENCE in o.measures and o.at >= self.since]
        outcomes = np.array([float(d > self.plan.shadow.tolerance) for d in apart])
        self.disagreed += int(outcomes.sum())
        self.pairs += len(apart)
        self._evidence.update(outcomes)

    def _drop_lost(self) -> int:
        lost = [i for i, a in self._stable.items() if self._now - a.at > LOST_SECONDS]
        for ident in lost:
            del self._stable[ident]
        self.lost += len(lost)
        return len(lost)

    def look(self) -> Look:
        """The gate ``agreement`` as it is now; its mean is the share of pairs that disagree."""
        share = (self.disagreed + self.lost) / self.pairs if self.pairs else None
        gate = GateLook(self._evidence.above, self._evidence.below, share, None, self.pairs, self.pairs)
        return Look({GATE: gate}, self._evidence.above, 1.0, self.pairs, self.pairs, {})


def decide(plan: ReleasePlan, elapsed_s: float, stopped: str | None, look: Look) -> Decision:
    """The next action of a shadow release; see :func:`serving.rollout.decide.decide`."""
    gate, limit = look.gates[GATE], 1 / plan.alpha
    allowed = 1 - plan.shadow.min_agreement
    share = "none" if gate.new is None else f"{gate.new:.2%}"
    said = f"{share} of {look.new_count} pairs disagree, {allowed:.2%} may"
    if not look.new_count:
        said = "no pair of answers to compare; of a language model only requests with temperature 0 are copied"
    if look.combined >= limit:
        return Decision("roll_back", f"gate {GATE}: {said}; evidence {look.combined:.3g}, limit {limit:.3g}")
    if stopped is not None:
        return Decision("wait", stopped)
    if look.new_count >= plan.shadow.min_pairs and gate.promote >= plan.promote_evidence:
        return Decision("promote", f"{said}; evidence {gate.promote:.3g}, {plan.promote_evidence:.3g} needed")
    if elapsed_s >= plan.deadline_s:
        return Decision("hold", f"undecided after {elapsed_s:.0f} s: {said}")
    return Decision("wait", said)
