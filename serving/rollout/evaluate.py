"""The gates of one rollout, fed with observations. Pure: the same observations always give the same look."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.rollout.evidence import Evidence, RunningMean, SampleRatio
from serving.rollout.gates import LatencyGate, ScalarGate
from serving.rollout.observations import Observation, Report
from serving.rollout.plan import HIGHEST_COMPARED_WEIGHT, ReleasePlan

# Answers of stable from which its latency's quantiles are frozen, and how many at the most.
BASELINE_REQUESTS, BASELINE_MOST = 100, 1000
# Requests that a later report may still speak of: the newest ones of the rollout.
REMEMBERED = 200_000


@dataclass(frozen=True)
class GateLook:
    """What one gate says now.

    Attributes:
        rollback: e-value against "within the rollback margin".
        promote: e-value against "worse by the promotion margin or more".
        new, stable: mean outcome of each arm, in the gate's own unit (a share for errors and latency); None before one.
        new_count, stable_count: requests that the gate has counted.
    """

    rollback: float
    promote: float
    new: float | None
    stable: float | None
    new_count: int
    stable_count: int


@dataclass(frozen=True)
class Look:
    """All gates of a rollout at one moment.

    Attributes:
        gates: by name.
        combined: average of the gates' rollback evidence, weighted by their shares of alpha.
        sample_ratio: evidence that the split is not the declared one.
        new_count: requests that the new version has answered under gates.
        by_percent: the same by the split's percent.
        awaiting: what the latency gates still wait for, or None.
    """

    gates: dict[str, GateLook]
    combined: float
    sample_ratio: float
    new_count: int
    stable_count: int
    by_percent: dict[int, int]
    awaiting: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data for the log and for people."""
        return {
            "combined": self.combined,
            "sample_ratio": self.sample_ratio,
            "new_requests": self.new_count,
            "stable_requests": self.stable_count,
            "gates": {name: vars(gate) for name, gate in self.gates.items()},
        }


@dataclass
class _User:
    """A user of an A/B release: what their requests came to at each gate, as sums and counts."""

    first: float
    new: bool
    percent: int
    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, outcomes: Iterable[tuple[str, float]]) -> None:
        for name, outcome in outcomes:
            total = self.sums.setdefault(name, [0.0, 0.0])
            total[0] += outcome
            total[1] += 1


@dataclass
class _Gate:
    evidence: Evidence
    centre: float | RunningMean
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    counts: list[int] = field(default_factory=lambda: [0, 0])
    scale: tuple[float, float] = (0.0, 1.0)  # an outcome in [0, 1] times the second plus the first is the measure

    def take(self, at: Sequence[float], new: Sequence[bool], weight: Sequence[float], outcome: Sequence[float]) -> None:
        y, is_new = np.array(outcome), np.array(new)
        centre = self.centre.before(y) if isinstance(self.centre, RunningMean) else np.full(len(y), self.centre)
        self.evidence.update(np.array(at), is_new, np.array(weight), y, centre)
        for which, mask in enumerate((~is_new, is_new)):
            self.sums[which] += float(y[mask].sum())
            self.counts[which] += int(mask.sum())

    def look(self) -> GateLook:
        low, width = self.scale
        stable, new = (low + width * s / c if c else None for s, c in zip(self.sums, self.counts, strict=True))
        compared = all(self.counts)  # what only one arm reports is compared with nothing
        rollback, promote = (self.evidence.rollback, self.evidence.promote) if compared else (1.0, 1.0)
        return GateLook(rollback, promote, new, stable, self.counts[1], self.counts[0])


@dataclass
class _Rows:
    """What a batch adds: draws for the sample ratio, and (at, new, weight, outcome) for each gate."""

    drawn: list[bool] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    by_gate: dict[str, list[tuple[float, bool, float, float]]] = field(default_factory=dict)

    def add(self, gate: str, at: float, new: bool, weight: float, outcome: float) -> None:
        self.by_gate.setdefault(gate, []).append((at, new, weight, outcome))


class Evaluation:
    """Judges one rollout.

    Args:
        arm: the new version's arm; every other arm is stable.
        baseline: ``{"at": seconds, "slow": {gate: ms}}`` as frozen before, when the rollout is taken up again.
        rollout: id; observations of another are passed over.
    """

    def __init__(self, plan: ReleasePlan, rollout: str, arm: str, baseline: dict[str, Any] | None = None) -> None:
        self.plan, self.rollout, self.arm, self.baseline = plan, rollout, arm, baseline
        self._latency = {g.name: g for g in plan.gates.latency}
        self._scalars = {g.name: g for g in plan.gates.scalars}
        self._gates = {name: self._gate(name) for name in plan.gates.names}
        self._ratio, self._ratio_from = SampleRatio(), float("-inf")
        self._by_percent: dict[int, int] = {}
        self._counts = [0, 0]
        self._users: OrderedDict[str, _User] = OrderedDict()  # whose time is not over, by their first request
        self._known: set[str] = set()
        self._asked: OrderedDict[str, tuple[bool, float, set[str], str | None]] = (
            OrderedDict()
        )  # and what was reported of it
        self._stable_times: dict[str, list[float]] = {g.measure: [] for g in plan.gates.latency}

    def _gate(self, name: str) -> _Gate:
        gates, restart = self.plan.gates, self.plan.restart_s
        if name in self._latency:
            latency = self._latency[name]
            evidence = Evidence(latency.rollback_margin, latency.promote_margin, restart)
            return _Gate(evidence, 1 - latency.quantile)
        if name in self._scalars:
            scalar = self._scalars[name]
            low, high = scalar.bounds
            width = high - low
            evidence = Evidence(
                scalar.rollback_margin / width, scalar.promote_margin / width, restart, failure_bet=False
            )
            return _Gate(evidence, RunningMean(), scale=(low, width) if scalar.worse == "higher" else (high, -width))
        return _Gate(Evidence(gates.errors.rollback_margin, gates.errors.promote_margin, restart), 0.0)

    def prepare(self, before: Sequence[Observation]) -> None:
        """Let the latency's baseline begin with answers of stable from before the rollout."""
        for observation in before:
            self._keep_time(observation)
        self._freeze(before[-1].at if before else 0.0)

    def _keep_time(self, observation: Observation) -> None:
        if self.baseline is None and observation.status < 500:
            for measure, times in self._stable_times.items():
                if measure in observation.measures:
                    times.append(observation.measures[measure])
                    del times[:-BASELINE_MOST]

    def _freeze(self, at: float) -> None:
        if self.baseline is None and all(len(t) >= BASELINE_REQUESTS for t in self._stable_times.values()):
            slow = {
                name: float(np.quantile(self._stable_times[g.measure], g.quantile)) for name, g in self._latency.items()
            }
            self.baseline = {"at": at, "slow": slow, "requests": {m: len(t) for m, t in self._stable_times.items()}}

    def count_split_from(self, at: float) -> None:
        """Judge the router's split by later requests only: a person looked at it and let the rollout go on."""
        if at > self._ratio_from:
            self._ratio, self._ratio_from = SampleRatio(), at

    def take(self, observations: Sequence[Observation | Report]) -> None:
        """Take observations, and what was reported of earlier ones, in their order.

        A report counts once for each request and measure, with the weight under which the request was drawn; of a
        request that is unknown here it says nothing.
        """
        rows = _Rows()
        for o in observations:
            if isinstance(o, Report):
                self._report(o, rows)
            elif o.rollout == self.rollout and o.percent is not None and 0 < o.percent <= HIGHEST_COMPARED_WEIGHT:
                if self.plan.strategy == "ab":
                    self._of_user(o, o.percent, rows)
                else:
                    self._of_request(o, o.percent, rows)
                if o.arm != self.arm:
                    self._keep_time(o)
                    self._freeze(o.at)
        self._ratio.update(np.array(rows.drawn, dtype=bool), np.array(rows.weights))
        for name, found in rows.by_gate.items():
            self._gates[name].take(*zip(*found, strict=True))

    def _of_request(self, o: Observation, percent: int, rows: _Rows) -> None:
        new, weight = o.arm == self.arm, percent / 100
        self._count(o.at, new, percent, rows)
        if self._scalars and o.status < 500:
            said = {name for name, scalar in self._scalars.items() if scalar.measure in o.measures}
            self._asked[o.request_id] = (new, weight, said, None)
            while len(self._asked) > REMEMBERED:
                self._asked.popitem(last=False)
        for name, outcome in self._outcomes(o):
            rows.add(name, o.at, new, weight, outcome)

    def _count(self, at: float, new: bool, percent: int, rows: _Rows) -> None:
        if at > self._ratio_from:
            rows.drawn.append(new)
            rows.weights.append(percent / 100)
        self._counts[new] += 1
        if new:
            self._by_percent[percent] = self._by_percent.get(percent, 0) + 1

    def _of_user(self, o: Observation, percent: int, rows: _Rows) -> None:
        """A user counts once, when their time is over, by the mean of their requests: the user was drawn, not these."""
        self._close_users(o.at, rows)
        if o.user is None or (o.user in self._known and o.user not in self._users):
            return
        if o.user not in self._users:
            self._known.add(o.user)
            self._users[o.user] = _User(o.at, o.arm == self.arm, percent)
        self._users[o.user].add(self._outcomes(o))
        if self._scalars and o.status < 500:
            self._asked[o.request_id] = (o.arm == self.arm, percent / 100, set(o.measures), o.user)

    def _close_users(self, now: float, rows: _Rows) -> None:
        while self._users:
            user = next(iter(self._users.values()))
            if now - user.first < self.plan.segments.window_s:
                return
            self._users.popitem(last=False)
            self._count(user.first, user.new, user.percent, rows)
            for name, (total, count) in user.sums.items():
                rows.add(name, user.first + self.plan.segments.window_s, user.new, user.percent / 100, total / count)

    def _report(self, report: Report, rows: _Rows) -> None:
        if report.request_id not in self._asked:
            return
        new, weight, counted, user = self._asked[report.request_id]
        for name, scalar in self._scalars.items():
            if scalar.measure in report.measures and name not in counted:
                counted.add(name)
                outcome = _bounded(scalar, report.measures[scalar.measure])
                if user is None:
                    rows.add(name, report.at, new, weight, outcome)
                elif user in self._users:
                    self._users[user].add([(name, outcome)])

    def _outcomes(self, o: Observation) -> list[tuple[str, float]]:
        """The outcome of a request at each gate that counts it, in [0, 1], higher is worse."""
        failed = o.status >= 500
        found = [("errors", float(failed))]
        if self.baseline is not None and o.at > self.baseline["at"]:
            for name, latency in self._latency.items():
                # An answer that never comes is a slow one. Left out, while one arm is down the other alone is compared.
                if failed or latency.measure in o.measures:
                    found.append((name, 1.0 if failed else self._slow(latency, name, o)))
        if failed:
            return found
        for name, scalar in self._scalars.items():
            if scalar.measure in o.measures:
                found.append((name, _bounded(scalar, o.measures[scalar.measure])))
        return found

    def _slow(self, gate: LatencyGate, name: str, o: Observation) -> float:
        assert self.baseline is not None
        milliseconds = o.measures[gate.measure]
        compared = gate.allowed(milliseconds) if o.arm == self.arm else milliseconds
        return float(compared > self.baseline["slow"][name])

    def look(self) -> Look:
        """The gates as they are now; may be asked for at any time, any number of times."""
        gates = {name: gate.look() for name, gate in self._gates.items()}
        combined = sum(share * gates[name].rollback for name, share in self.plan.gates.shares.items())
        awaiting = None
        if self.baseline is None and self._latency:
            fewest = min(len(t) for t in self._stable_times.values())
            awaiting = f"{BASELINE_REQUESTS} answers of stable to know its latency by, {fewest} so far"
        return Look(
            gates, combined, self._ratio.value, self._counts[1], self._counts[0], dict(self._by_percent), awaiting
        )


def _bounded(gate: ScalarGate, value: float) -> float:
    low, high = gate.bounds
    share = (min(max(value, low), high) - low) / (high - low)
    return share if gate.worse == "higher" else 1 - share
