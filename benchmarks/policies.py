"""When to retrain: policies replayed over a year of monthly reviews, beside all schedules that there are.

The first model learns from January to March and answers from April on; eight reviews, at the ends of April to November,
each may fit a model on all that is known by then. Models of all reviews are fitted once, so each of the 256 schedules
is looked up. A policy sees reviews of the project's own kind and decides by the project's own classes. Of two targets
on the same rows, choices are made on arrivals; departures only report them.

J is the log loss pooled over May to December (April is answered by the first model under every schedule) and 0.001 for
each retraining, in nats, averaged over seeds. The rule's prices say the same: a retraining costs 0.001 times the
predictions of May to December, a prediction that is worse by one nat costs 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from assets.monitoring.decision import (
    Backtest,
    Calendar,
    ExpectedCost,
    LargestPSI,
    Limits,
    ManyDrifted,
    Never,
    Policy,
    Prices,
    Review,
)
from benchmarks import schedules
from benchmarks.harness import World
from benchmarks.replay import FIRST_MONTHS, TARGETS
from benchmarks.report import Row
from benchmarks.schedules import Difference, Losses, Schedule

SEEDS = (7, 8, 9)
COST = 0.001  # of one retraining, in pooled log loss
PSI = 0.2
# What the rule is chosen from, on arrivals: for how many reviews a saving counts, its cooldown, and how often at most
# it retrains.
HORIZONS, COOLDOWNS, MOST = (1, 2, 4, 8), (0, 2), (None, 6, 4)
LOSS_AIM, COUNT_AIM, REGRET_AIM = 0.002, 6, 0.20
MONTHLY, RULE, CHOSEN = "every month", "expected cost", "expected cost, chosen on arrivals"
MYOPIC = "expected cost until the next review"
SAID = (
    "Eight decisions of one year, in which each month's data is in all later models, cannot rank policies: an interval "
    "says what other weeks of the same year would have said, nothing of other years. Rows marked *, and on arrivals "
    "the chosen rule, were picked by the result itself, so they flatter."
)


@dataclass(frozen=True)
class Target:
    """One target: losses by seed, and by seed what a review of a number is while a model is in force."""

    name: str
    seeds: list[Losses]
    looks: list[Callable[[int, int], Review]]
    reviews: int

    @property
    def predictions(self) -> int:
        return self.seeds[0].predictions

    def same(self, schedule: Schedule) -> list[Schedule]:
        return schedules.fixed(self.seeds, schedule)

    def follow(self, policy: Policy, at_most: int | None = None) -> list[Schedule]:
        """What a policy does, by seed."""
        return [schedules.follow(policy, look, self.reviews, at_most)[0] for look in self.looks]

    def j(self, by_seed: Sequence[Schedule]) -> float:
        return schedules.objective(self.seeds, by_seed, COST)

    def losses(self, by_seed: Sequence[Schedule]) -> tuple[float, ...]:
        return tuple(schedules.pooled(one, schedule) for one, schedule in zip(self.seeds, by_seed, strict=True))


@dataclass(frozen=True)
class Outcome:
    """What a policy did and what came of it; schedules and log losses by seed."""

    policy: str
    schedules: list[Schedule]
    log_losses: tuple[float, ...]
    j: float
    regret: float
    less_monthly: Difference
    less_never: Difference
    less_calendar: Difference

    @property
    def retrainings(self) -> float:
        return float(np.mean([sum(s) for s in self.schedules]))


def measure(world: World) -> list[Row]:
    home = world.built()
    world.say("joining the features of the whole year")
    facts = world.call(home, "benchmarks.replay:prepare").result
    seeds, names = SEEDS[: world.repeats(len(SEEDS))], list(TARGETS)[: world.repeats(len(TARGETS))]
    jobs = list(product(names, seeds))
    world.say(f"fitting the models of all reviews, and of their backtests, {len(jobs)} times")
    done = world.call(home, "benchmarks.replay:fit_all", jobs=jobs)
    world.say(f"fitted and scored in {done.seconds:.0f} s, {done.cpu_seconds:.0f} s of CPU")
    fitted = {name: [r for (t, _), r in zip(jobs, done.result, strict=True) if t == name] for name in names}
    inputs = facts["inputs"]
    done = world.call(home, "benchmarks.replay:drifted", seed=seeds[0], ks=[half(inputs)], threshold=PSI)
    world.say(f"{len(done.result)} drift reports in {done.seconds:.0f} s")
    targets = [target(name, facts, results, done.result) for name, results in fitted.items()]
    choice = choose(targets[0])
    found = {t.name: outcomes(t, inputs, choice) for t in targets}
    chance = " ".join(_chance(t, found[t.name]) for t in targets)
    lines = [*table(found), "", *_frontier_table(targets, facts["periods"]), "", chance, "", SAID]
    for line in lines:
        world.console.print(line, markup=False, soft_wrap=True)
    world.details = {
        "markdown": lines,
        "cost": COST,
        "learner": facts["parameters"],
        "chosen": dict(zip(("horizon", "cooldown", "at_most"), choice, strict=True)),
        "targets": {t.name: _details(t, found[t.name]) for t in targets},
    }
    return [row for t in targets for row in _rows(t, found[t.name])]


def half(inputs: int) -> int:
    """The least number that is half of the inputs: from there on Evidently says by default that a data set drifted."""
    return math.ceil(inputs / 2)


def target(name: str, facts: dict[str, Any], fitted: list[dict[str, Any]], drift: list[Any]) -> Target:
    """A target from what the children returned; its losses from May on."""
    months = {(number, champion): met for number, champion, met in drift}

    def look_of(found: dict[str, Any]) -> Callable[[int, int], Review]:
        tests = {(number, champion): Backtest(**test) for number, champion, test in found["backtests"]}
        known, coverage = facts["known"][name], facts["coverage"][name]

        def look(number: int, champion: int) -> Review:
            return Review(
                facts["periods"][number - 1],
                # The months before were reviews as well, so that calendars of every offset exist.
                number + FIRST_MONTHS,
                labelled=known[number] - known[champion],
                coverage=coverage[number - 1],
                # As many as in the month that ends: those to come are not known.
                until_next=facts["predictions"][number - 1],
                since_retraining=number - champion if champion else None,
                backtest=tests[number, champion],
                **months.get((number, champion), {}),
            )

        return look

    losses = [
        Losses(
            np.array(one["sums"], dtype=np.float64),
            np.array(one["counts"]),
            np.array(one["months"]),
            np.array(one["blocks"]),
        ).since(1)
        for one in fitted
    ]
    return Target(name, losses, [look_of(one) for one in fitted], len(facts["periods"]) - 1)


def rule(t: Target, horizon: float | None = None, cooldown: int = 0) -> ExpectedCost:
    """The project's rule at the price that J has; without a horizon, at the one that the project declares."""
    prices, limits = (
        Prices(nat=1, retraining=schedules.price(COST, t.predictions), rollout=0),
        Limits(cooldown=cooldown),
    )
    return ExpectedCost(prices=prices, limits=limits, horizon=horizon or ExpectedCost().horizon)


def choose(t: Target) -> tuple[float, int, int | None]:
    """Horizon, cooldown and most retrainings with the least J on this target, the plainest of equals."""
    return min(
        product(HORIZONS, COOLDOWNS, MOST),
        key=lambda choice: round(t.j(t.follow(rule(t, choice[0], choice[1]), choice[2])), 9),
    )


def outcomes(t: Target, inputs: int, choice: tuple[float, int, int | None]) -> list[Outcome]:
    """All policies on one target.

    Args:
        inputs: of the model, of which half have to drift.
        choice: as :func:`choose` returns it.
    """
    k = half(inputs)
    done: dict[str, list[Schedule]] = {"never": t.follow(Never()), MONTHLY: t.follow(Calendar())}
    for every, word in ((2, "2nd"), (3, "3rd")):
        for offset in range(every):
            by_seed = t.follow(Calendar(every=every, offset=offset))
            done[f"every {word} month from {t.looks[0](1 + by_seed[0].index(True), 0).period}"] = by_seed
    done[f"{k} of {inputs} inputs drifted"] = t.follow(ManyDrifted(k=k))
    done[f"largest PSI above {PSI}"] = t.follow(LargestPSI(threshold=PSI))
    done[MYOPIC] = t.follow(rule(t, 1))
    done[RULE] = t.follow(rule(t))
    done[CHOSEN] = t.follow(rule(t, choice[0], choice[1]), choice[2])
    done["best calendar as sparse as expected cost *"] = sparse(t, done[RULE])
    done["best calendar as sparse as the chosen *"] = sparse(t, done[CHOSEN])
    front = [(schedule, loss + COST * sum(schedule)) for schedule, loss in schedules.frontier(t.seeds, t.reviews)]
    best = min(front, key=lambda each: each[1])
    done["best of all schedules *"] = t.same(best[0])
    found = []
    for name, by_seed in done.items():
        found.append(
            Outcome(
                name,
                by_seed,
                t.losses(by_seed),
                t.j(by_seed),
                schedules.regret(t.j(by_seed), best[1], t.j(done["never"])),
                schedules.compare(t.seeds, by_seed, done[MONTHLY], COST),
                schedules.compare(t.seeds, by_seed, done["never"], COST),
                schedules.compare(t.seeds, by_seed, sparse(t, by_seed), COST),
            )
        )
    return found


def sparse(t: Target, by_seed: Sequence[Schedule]) -> list[Schedule]:
    """Of the evenly spaced schedules with as many retrainings (mean over seeds, rounded), the one of the least J."""
    count = round(float(np.mean([sum(s) for s in by_seed])))
    equal = [s for s in schedules.evenly_spaced(t.reviews) if sum(s) == count]
    return t.same(min(equal, key=lambda s: t.j(t.same(s)), default=(False,) * t.reviews))


def table(found: dict[str, list[Outcome]]) -> list[str]:
    """All policies as a markdown table, a group of columns a target."""
    head = ["policy"]
    for name in found:
        head += [f"{name}: retrained", "log loss", "J", "less monthly's J (95%)", "regret"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for same in zip(*found.values(), strict=True):
        cells = [same[0].policy]
        for o in same:
            d = o.less_monthly
            between = "" if o.policy == MONTHLY else f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f})"
            cells += [
                f"{o.retrainings:.3g}",
                f"{np.mean(o.log_losses):.4f}",
                f"{o.j:.4f}",
                between,
                f"{max(o.regret, 0):.2f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _frontier_table(targets: Sequence[Target], periods: Sequence[str]) -> list[str]:
    """By number of retrainings the best schedule, as a markdown table; months are those at whose end is retrained."""
    head = ["retrainings"]
    for t in targets:
        head += [f"{t.name}: best after", "log loss", "J"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for count, same in enumerate(zip(*(schedules.frontier(t.seeds, t.reviews) for t in targets), strict=True)):
        cells = [str(count)]
        for schedule, loss in same:
            months = ", ".join(p[5:] for p, retrains in zip(periods, schedule, strict=False) if retrains)
            cells += [months, f"{loss:.4f}", f"{loss + COST * count:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _chance(t: Target, found: list[Outcome]) -> str:
    """The rule beside schedules that were drawn without looking."""
    by_name = {o.policy: o for o in found}
    own, best, never = (by_name[name].j for name in (RULE, "best of all schedules *", "never"))
    drawn = schedules.as_sparse(t.seeds, t.reviews, round(by_name[RULE].retrainings), COST)
    typical = schedules.regret(float(drawn.mean()), best, never)
    return (
        f"Of the {len(drawn)} schedules with as many retrainings as {RULE} on {t.name}, {np.mean(drawn < own):.0%} are "
        f"better than it; their mean regret is {typical:.2f}."
    )


def _rows(t: Target, found: list[Outcome]) -> list[Row]:
    by_name = {o.policy: o for o in found}
    monthly = by_name[MONTHLY]
    rows = [
        Row(f"{t.name}, never: log loss", "nats", by_name["never"].log_losses),
        Row(f"{t.name}, {MONTHLY}: log loss", "nats", monthly.log_losses),
    ]
    for name in (RULE, CHOSEN):
        own = by_name[name]
        title, more = f"{t.name}, {name}", float(np.mean(own.log_losses) - np.mean(monthly.log_losses))
        for other, d in (("monthly's", own.less_monthly), ("the best calendar's as sparse", own.less_calendar)):
            # Met unless the whole interval says that it is worse.
            rows.append(Row(f"{title}: J less {other}", "nats", (d.value,), aim=round(d.half, 5)))
        rows += [
            Row(f"{title}: log loss less monthly's", "nats", (more,), aim=LOSS_AIM),
            Row(f"{title}: retrainings, most of any seed", "1", (max(map(sum, own.schedules)),), aim=COUNT_AIM),
            Row(f"{title}: regret, a share of never's", "1", (own.regret,), aim=REGRET_AIM),
        ]
    return rows


def _details(t: Target, found: list[Outcome]) -> dict[str, Any]:
    """For the file: every policy by seed, why the rule decided so, and the log loss of every schedule."""

    def text(schedule: Schedule) -> str:
        return "".join("1" if retrains else "0" for retrains in schedule)

    def policy(o: Outcome) -> dict[str, Any]:
        return {
            **{name: getattr(o, name) for name in ("policy", "retrainings", "log_losses", "j", "regret")},
            "schedules": [text(s) for s in o.schedules],
            "less_monthly": asdict(o.less_monthly),
            "less_never": asdict(o.less_never),
            "less_calendar": asdict(o.less_calendar),
        }

    verdicts = [schedules.follow(rule(t), look, t.reviews)[1] for look in t.looks]
    return {
        "predictions": t.predictions,
        "price": schedules.price(COST, t.predictions),
        "policies": [policy(o) for o in found],
        "why": [[verdict.why for verdict in by_review] for by_review in verdicts],
        "schedules": {text(s): schedules.objective(t.seeds, t.same(s), 0.0) for s in schedules.every(t.reviews)},
    }
