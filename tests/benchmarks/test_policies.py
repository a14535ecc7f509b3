"""The bench of retraining policies: schedules are looked up, compared and priced as they are said to be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from assets.domains import load_domain
from assets.monitoring.decision import Backtest, Calendar, ExpectedCost, Never, Prices, Review, Verdict
from assets.training.tabular.scores import mean_interval
from benchmarks import policies, replay, schedules
from benchmarks.policies import COST, MONTHLY, RULE, Target
from benchmarks.schedules import Losses
from serving.settings import PROJECT

REVIEWS = 4
DAYS = 140


def losses(seed: int = 0, stale: float = 0.0) -> Losses:
    """A model for each of four reviews; each loses ``stale`` nats a prediction more with every month of its age."""
    rng = np.random.default_rng(seed)
    months = np.arange(DAYS) // 28
    counts = np.random.default_rng(99).integers(50, 150, DAYS)
    age = months - np.arange(REVIEWS + 1)[:, None]
    sums = counts * (0.5 + stale * age + rng.normal(0, 0.02, age.shape))
    return Losses(np.where(age < 0, np.nan, sums), counts, months, np.arange(DAYS) // 7)


def look(number: int, champion: int) -> Review:
    gain = 0.01 * (number - champion)
    test = Backtest(champion=0.5 + gain, candidate=0.5, low=0.0, high=0.02, rows=10_000)
    return Review(f"month {number}", number + 3, 10_000, 1.0, 2_800, number - champion, test)


@pytest.mark.parametrize(
    ("schedule", "models"),
    [
        ((False,) * 4, [0, 0, 0, 0, 0]),
        ((True,) * 4, [0, 1, 2, 3, 4]),
        ((False, True, False, True), [0, 0, 2, 2, 4]),
        ((True, False, False, False), [0, 1, 1, 1, 1]),
    ],
)
def test_the_newest_fitted_model_answers(schedule: schedules.Schedule, models: list[int]) -> None:
    assert schedules.in_force(schedule).tolist() == models


def test_every_schedule_is_looked_up_as_if_it_had_been_played() -> None:
    one = losses(stale=0.01)
    found = schedules.every(REVIEWS)
    assert len(set(found)) == 2**REVIEWS
    for schedule in found:
        total, model = 0.0, 0
        for day in range(DAYS):
            month = day // 28
            if day % 28 == 0 and month and schedule[month - 1]:
                model = month
            total += one.sums[model, day]
        assert schedules.pooled(one, schedule) == pytest.approx(total / one.counts.sum())


def test_later_months_only() -> None:
    one = losses().since(1)
    assert one.months.min() == 1
    assert one.predictions == losses().counts[28:].sum()


def test_the_frontier_is_the_best_of_every_count() -> None:
    seeds = [losses(0, 0.01), losses(1, 0.01)]
    found = schedules.frontier(seeds, REVIEWS)
    for count, (schedule, loss) in enumerate(found):
        assert sum(schedule) == count
        each = [np.mean([schedules.pooled(s, other) for s in seeds]) for other in schedules.every(REVIEWS)
                if sum(other) == count]  # fmt: skip
        assert loss == pytest.approx(min(each))
    assert [loss for _, loss in found] == sorted((loss for _, loss in found), reverse=True)  # fresher is better here


def test_schedules_as_sparse_are_all_of_that_count() -> None:
    seeds = [losses(0, 0.01)]
    found = schedules.as_sparse(seeds, REVIEWS, 2, COST)
    assert len(found) == 6
    assert found[0] == pytest.approx(schedules.frontier(seeds, REVIEWS)[2][1] + 2 * COST)


def test_regret_is_a_share_of_never() -> None:
    assert schedules.regret(0.48, 0.48, 0.49) == 0
    assert schedules.regret(0.49, 0.48, 0.49) == 1
    assert schedules.regret(0.482, 0.48, 0.49) == pytest.approx(0.2)
    assert schedules.regret(0.5, 0.48, 0.49) == pytest.approx(2)
    with pytest.raises(ValueError, match="nothing to regret"):
        schedules.regret(0.5, 0.5, 0.5)


def test_blocks_are_resampled_as_the_gates_resample_them() -> None:
    rng = np.random.default_rng(3)
    counts, blocks = rng.integers(1, 20, 70), np.arange(70) // 7
    rows = rng.normal(0.1, 1, counts.sum())
    day = np.repeat(np.arange(70), counts)
    of_rows = mean_interval(rows, [np.flatnonzero(blocks[day] == b) for b in range(10)])
    found = schedules.interval(np.bincount(day, rows), counts, blocks)
    assert found == pytest.approx((of_rows.low, of_rows.high))


def test_a_difference_is_paired_and_has_its_cost() -> None:
    seeds = [losses(0, 0.01), losses(1, 0.01)]
    never, monthly = ((retrains,) * REVIEWS for retrains in (False, True))
    same = schedules.compare(seeds, [never] * 2, [never] * 2, COST)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    found = schedules.compare(seeds, [monthly] * 2, [never] * 2, COST)
    expected = schedules.objective(seeds, [monthly] * 2, COST) - schedules.objective(seeds, [never] * 2, COST)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    dear = schedules.compare(seeds, [monthly] * 2, [never] * 2, 10 * COST)
    assert dear.value - found.value == pytest.approx(9 * COST * REVIEWS)
    assert dear.half == pytest.approx(found.half)


def test_a_gain_over_the_whole_period_breaks_even_at_the_price() -> None:
    price = schedules.price(0.001, 200_000)
    assert price == pytest.approx(200)
    policy = ExpectedCost(prices=Prices(nat=1, retraining=price, rollout=0), horizon=1)

    def action(gain: float) -> str:
        test = Backtest(0.5 + gain, 0.5, 0, 1, 10_000)
        return policy.decide(Review("m", 1, 10_000, 1.0, until_next=200_000, backtest=test)).action

    assert (action(0.00101), action(0.00099)) == ("retrain", "wait")


def test_a_policy_is_told_the_model_in_force_and_not_asked_when_its_retrainings_are_made() -> None:
    told: list[tuple[int, int]] = []

    class Always:
        def decide(self, review: Review) -> Verdict:
            return Verdict("retrain" if review.number % 2 else "wait", "odd")

    def recorded(number: int, champion: int) -> Review:
        told.append((number, champion))
        return Review("m", number, 0, 1.0, 0)

    assert schedules.follow(Always(), recorded, 4)[0] == (True, False, True, False)
    assert told == [(1, 0), (2, 1), (3, 1), (4, 3)]
    schedule, verdicts = schedules.follow(Always(), recorded, 4, at_most=1)
    assert schedule == (True, False, False, False)
    assert "are made" in verdicts[-1].why


def test_evenly_spaced_schedules_are_those_of_calendars() -> None:
    found = schedules.evenly_spaced(REVIEWS)
    assert len(set(found)) == len(found)
    assert not any(sum(schedule) == 0 for schedule in found)
    for every, offset in product((1, 2), range(2)):
        assert schedules.follow(Calendar(every=every, offset=offset), look, REVIEWS)[0] in found
    assert (True, True, False, True) not in found
    assert {schedule for schedule in found if sum(schedule) == 1} == {
        tuple(n == only for n in range(REVIEWS)) for only in range(REVIEWS)
    }


def test_the_middle_of_the_declared_search() -> None:
    model = load_domain(PROJECT / "assets" / "domain").models[replay.MODEL]
    learner = replay.middle(model.learner)
    assert learner.search == {}
    assert model.learner.fixed.items() <= learner.fixed.items()
    for name, bounds in model.learner.search.items():
        assert bounds.low < float(learner.fixed[name]) < bounds.high
        assert isinstance(learner.fixed[name], int) is bounds.integer


def test_outcomes_are_of_every_policy_and_told_in_a_table() -> None:
    seeds = [losses(seed, 0.01) for seed in range(2)]
    t = Target("arrivals", [one.since(1) for one in seeds], [look, look], REVIEWS)
    choice = policies.choose(t)
    found = policies.outcomes(t, 23, choice)
    by_name = {o.policy: o for o in found}
    assert by_name["never"].regret == 1
    assert by_name["best of all schedules *"].regret == 0
    assert by_name[MONTHLY].less_monthly.value == 0
    assert by_name["never"].less_monthly.value > 0.01  # two months of staleness against four retrainings
    assert min(o.j for o in found) == by_name["best of all schedules *"].j
    # By the month before, which has 2,800 predictions: of 11,200 in all a retraining costs 11 nats and saves 28.
    assert by_name[RULE].schedules[0] == (True,) * REVIEWS
    assert t.j(t.follow(policies.rule(t, choice[0], choice[1]), choice[2])) <= t.j(t.follow(Never()))
    assert "Of the 1 schedules" in policies._chance(t, found)
    lines = policies.table({"arrivals": found, "departures": found})
    assert len(lines) == len(found) + 2
    assert len({line.count("|") for line in lines}) == 1
    names = [row.name for row in policies._rows(t, found)]
    assert len(set(names)) == len(names)
    assert len(policies._details(t, found)["schedules"]) == 2**REVIEWS
