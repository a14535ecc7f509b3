"""Whether to retrain now: by what it is expected to cost and to save, not by whether something is significant.

A review knows how well the champion did on the newest labels, how a model fitted on all but those would have done on
them (a half-period backtest), and how many predictions come before the model is replaced again. Retraining pays when
the expected saving is above its declared cost. It says why, and why not, in words and numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from assets.declared import Declared

Action = Literal["retrain", "wait", "alert"]


class Prices(Declared):
    """What things cost, in one currency of your own."""

    nat: float = Field(default=1.0, gt=0, description="one prediction whose log loss is higher by one nat")
    retraining: float = Field(default=200.0, ge=0, description="one retraining, machines and people")
    rollout: float = Field(default=20.0, ge=0, description="one rollout")


class Limits(Declared):
    """Below what a review does not trust its numbers, and how long it is quiet after a retraining."""

    labelled: int = Field(default=5_000, ge=1, description="new labelled predictions since the last retraining")
    coverage: float = Field(default=0.5, ge=0, le=1, description="share of predictions with a label; below it: alert")
    cooldown: int = Field(default=0, ge=0, description="least number of reviews from one retraining to the next")


@dataclass(frozen=True)
class Backtest:
    """Champion and a model fitted on earlier data, on the same later labels.

    Attributes:
        champion, candidate: mean log loss, in nats.
        low, high: 95% interval of champion minus candidate, by blocks of days.
        rows: labelled predictions that both were judged on.
    """

    champion: float
    candidate: float
    low: float
    high: float
    rows: int

    @property
    def gain(self) -> float:
        """Log loss that the candidate saves a prediction, in nats; negative when it is worse."""
        return self.champion - self.candidate


@dataclass(frozen=True)
class Review:
    """What is known when it is decided.

    Attributes:
        period: of the review, such as ``2013-06``.
        number: reviews so far, this one included.
        labelled: new labelled predictions since the champion was fitted.
        coverage: share of the served predictions whose label is known.
        until_next: predictions expected before the next review.
        since_retraining: reviews since the last retraining, None before one.
        backtest: None when there are too few labels for one.
        alarmed: whether the risk alarm is raised.
        drifted, features: features that a drift report flags, of so many; both 0 without a report.
        psi: largest population stability index of a feature.
    """

    period: str
    number: int
    labelled: int
    coverage: float
    until_next: int
    since_retraining: int | None = None
    backtest: Backtest | None = None
    alarmed: bool = False
    drifted: int = 0
    features: int = 0
    psi: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The action, why in words, and the numbers behind it."""

    action: Action
    why: str
    numbers: dict[str, Any] = field(default_factory=dict)


NO_REPORT = Verdict("alert", "the period has no drift report, so this policy cannot say")


class Policy(Protocol):
    """Decides at a review."""

    def decide(self, review: Review) -> Verdict: ...


class ExpectedCost(Declared):
    """Retrain when what it is expected to save until the version is replaced is above what it costs.

    A retraining is paid once and saves at every review until the next one, so its saving is counted over the reviews
    that a version is expected to serve: replace when the loss of going on exceeds the mean cost of a cycle (Barlow and
    Hunter, Operations Research 8, 1960).
    """

    kind: Literal["expected_cost"] = "expected_cost"
    prices: Prices = Prices()
    limits: Limits = Limits()
    horizon: float = Field(default=2, ge=1, le=120, description="reviews that a new version is expected to serve")

    def decide(self, review: Review) -> Verdict:
        cost = self.prices.retraining + self.prices.rollout
        numbers: dict[str, Any] = {
            "labelled": review.labelled, "coverage": review.coverage, "until_next": review.until_next,
            "horizon": self.horizon, "cost": cost, "alarmed": review.alarmed,
        }  # fmt: skip
        if review.coverage < self.limits.coverage:
            why = f"only {review.coverage:.0%} of the predictions have a label, {self.limits.coverage:.0%} are expected"
            return Verdict("alert", f"{why}: whether the model is still good cannot be said", numbers)
        if review.since_retraining is not None and review.since_retraining < self.limits.cooldown:
            since, quiet = review.since_retraining, self.limits.cooldown
            return Verdict("wait", f"retrained {since} reviews ago, and the cooldown is {quiet}", numbers)
        if review.labelled < self.limits.labelled or review.backtest is None:
            few = review.labelled < self.limits.labelled
            why = (
                f"{review.labelled:,} new labels, {self.limits.labelled:,} are needed"
                if few
                else "no backtest: too few labels on either side of the middle of the period"
            )
            return Verdict("alert" if review.alarmed else "wait", why, numbers)
        test = review.backtest
        served = review.until_next * self.horizon
        saving = test.gain * served * self.prices.nat
        numbers |= {
            "gain": test.gain, "gain_low": test.low, "gain_high": test.high, "backtest_rows": test.rows,
            "champion_log_loss": test.champion, "candidate_log_loss": test.candidate, "saving": saving,
            "break_even": cost / (served * self.prices.nat) if served else math.inf,
        }  # fmt: skip
        sign, does = (1, "saves") if test.gain >= 0 else (-1, "loses")
        low, high = sorted((sign * test.low, sign * test.high))
        told = (
            f"a model fitted on newer data {does} {abs(test.gain):.4f} nats a prediction ({low:.4f} to {high:.4f}, "
            f"{test.rows:,} predictions), {abs(saving):,.0f} over the {served:,.0f} "
            + ("until the next review; " if self.horizon == 1 else f"of the next {self.horizon:g} reviews; ")
            + f"retraining and rollout cost {cost:,.0f}"
        )
        if saving > cost:
            return Verdict("retrain", told, numbers)
        if review.alarmed:
            return Verdict("alert", f"the risk alarm is raised, and {told}: newer data does not cure it", numbers)
        return Verdict("wait", told, numbers)


class Never(Declared):
    """The baseline that never retrains."""

    kind: Literal["never"] = "never"

    def decide(self, review: Review) -> Verdict:
        return Verdict("wait", "this policy never retrains")


class Calendar(Declared):
    """Retrain at fixed reviews; of every one with ``every: 1``."""

    kind: Literal["calendar"] = "calendar"
    every: int = Field(default=1, ge=1, description="reviews from one retraining to the next")
    offset: int = Field(default=0, ge=0, description="the first retraining comes after so many reviews more")

    def decide(self, review: Review) -> Verdict:
        due = review.number > self.offset and (review.number - self.offset) % self.every == 0
        return Verdict("retrain" if due else "wait", f"review {review.number}, one in {self.every} retrains")


class ManyDrifted(Declared):
    """Retrain when at least ``k`` features are flagged by the drift report: the common K-of-N rule, as a baseline."""

    kind: Literal["many_drifted"] = "many_drifted"
    k: int = Field(ge=1)

    def decide(self, review: Review) -> Verdict:
        if not review.features:
            return NO_REPORT
        why = f"{review.drifted} of {review.features} features drifted, {self.k} trigger"
        return Verdict("retrain" if review.drifted >= self.k else "wait", why, {"drifted": review.drifted})


class LargestPSI(Declared):
    """Retrain when the largest population stability index of a feature is above a threshold, as a baseline."""

    kind: Literal["largest_psi"] = "largest_psi"
    threshold: float = Field(default=0.2, gt=0)

    def decide(self, review: Review) -> Verdict:
        if not review.features:
            return NO_REPORT
        why = f"the largest PSI is {review.psi:.2f}, {self.threshold:g} triggers"
        return Verdict("retrain" if review.psi > self.threshold else "wait", why, {"psi": review.psi})


AnyPolicy = Annotated[ExpectedCost | Never | Calendar | ManyDrifted | LargestPSI, Field(discriminator="kind")]
