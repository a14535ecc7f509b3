"""The year that the bench ``policies`` replays: models fitted at every review, scored on all later months, and reviews.

In child processes, below the bench's home. A review is the end of a month. What a model learns from is what was known
by then, a feature as it was known when its prediction was asked for and a label when it had become known.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from assets.monitoring.risk import Array
    from assets.training.spec import Learner, ModelDeclaration

MODEL = "arrival_delay"
# The declared target and a second one on the same rows: its label, and since when it was known.
TARGETS = {"arrivals": ("_label", "_arrived"), "departures": ("_left_late", "_left")}
LATE_MINUTES = 15
FIRST_MONTHS = 3  # that the first model is fitted on; it answers in the next, at whose end the first review is
BLOCK_DAYS = 7


def middle(learner: Learner) -> Learner:
    """The learner without its search: each parameter at the middle of its range, the geometric one of a log range.

    One choice for all fits, so that schedules differ by their data and not by the luck of a search.
    """
    fixed = dict(learner.fixed)
    for name, bounds in learner.search.items():
        centre = math.sqrt(bounds.low * bounds.high) if bounds.log else (bounds.low + bounds.high) / 2
        fixed[name] = round(centre) if bounds.integer else centre
    return learner.model_copy(update={"fixed": fixed, "search": {}})


class Year:
    """The replayed year of this process's home.

    Attributes:
        reviews: how many there are.
        periods: of the replay, from the month of the first review on; the last has no review.
    """

    def __init__(self) -> None:
        from benchmarks.stages import Stages

        self.stages = Stages()
        self.domain = self.stages.domain
        self.model: ModelDeclaration = self.domain.models[MODEL]
        self.folder = self.stages.settings.home / "replay"
        self.periods = self.domain.periods[FIRST_MONTHS:]
        self.reviews = len(self.periods) - 1

    @property
    def file(self) -> Path:
        return self.folder / "year.parquet"

    @cached_property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self.file)

    def of(self, target: str) -> pd.DataFrame:
        """The year with the target's label as ``_label`` and ``_known``, when it became known."""
        label, known = TARGETS[target]
        return self.frame.assign(_label=self.frame[label], _known=self.frame[known])

    def month(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Of each row: 0 the month of the first review, counted on from there; months before are negative."""
        first = self.periods[0]
        months = 12 * frame["_period"].dt.year + frame["_period"].dt.month
        return np.asarray(months - (12 * first.year + first.month), dtype=np.int64)

    def fitted_at(self, number: int) -> datetime:
        """When model ``number`` was fitted: 0 before the first month of the replay, i at review i."""
        return self.domain.bounds(self.periods[number])[0]

    def scores(self, target: str, seed: int) -> Path:
        return self.folder / f"{target}-{seed}.npy"


def prepare() -> dict[str, Any]:
    """Join the features of the whole year once, and both labels.

    Returns:
        By month of the replay: ``periods`` and ``predictions``, the rows that losses are counted of; by target, by
        model (the first, then one a review): labels ``known`` when it was fitted; ``coverage``: by target, by review,
        the share of its month's scheduled flights whose label was known; ``inputs``: how many the model has;
        ``parameters`` of the learner.
    """
    import pandas as pd

    from assets.domains import following
    from assets.features.offline import export, feature_marts
    from assets.features.sets import offline_store
    from assets.features.store import repo_fingerprint
    from assets.features.training_set import build
    from assets.warehouse.ledger import build_keys, reading
    from serving import clock

    year = Year()
    stages, domain, model = year.stages, year.domain, year.model
    manifest, file, features = stages.manifest, stages.settings.warehouse_file, stages.settings.features
    marts = feature_marts(manifest)
    for mart in marts:
        export(domain, manifest, file, features, mart, domain.periods)
    start, end = domain.periods[0], following(domain.periods[-1])
    examples = manifest.models[model.examples.model]
    inputs = {
        **build_keys(file, [*marts, examples.name], end),
        "feature_repo": repo_fingerprint(domain.feature_repo),
    }
    with offline_store(domain) as store:
        joined = build(
            model, store, file, examples.schema, features / "training_sets", start, end, None, clock.now(), inputs
        )
    facts = manifest.models["fct_flights"]
    with reading(file) as connection:
        labels = connection.execute(
            "select flight_id as _id, max(label_known_at) as _arrived,"
            " any_value(departure_delay > ?)::integer as _left_late,"
            " any_value(greatest(actual_departure, known_at)) as _left"
            f' from "{examples.schema}"."{examples.name}" join "{facts.schema}"."{facts.name}" using (flight_id)'
            " group by flight_id",
            [LATE_MINUTES],
        ).df()
        scheduled = dict(
            connection.execute(f'select period, count(*) from "{facts.schema}"."{facts.name}" group by 1').fetchall()
        )
    frame = joined.read().merge(labels, on="_id", how="left", validate="one_to_one")
    for names in TARGETS.values():
        assert frame[list(names)].notna().to_numpy().all(), names
    year.folder.mkdir(exist_ok=True)
    frame["_period"] = pd.to_datetime(frame["_period"])
    frame.to_parquet(year.file)
    month = year.month(frame)
    return {
        "periods": [period.isoformat()[:7] for period in year.periods],
        "predictions": [int((month == number).sum()) for number in range(len(year.periods))],
        "known": {
            target: [int((frame[known] < year.fitted_at(number)).sum()) for number in range(year.reviews + 1)]
            for target, (_, known) in TARGETS.items()
        },
        "coverage": {
            target: [
                int(((month == number) & (frame[known] < domain.bounds(period)[1])).sum()) / scheduled[period]
                for number, period in enumerate(year.periods[:-1])
            ]
            for target, (_, known) in TARGETS.items()
        },
        "inputs": len(model.inputs),
        "parameters": middle(model.learner).fixed,
    }


def fit_all(jobs: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """:func:`fit` of every (target, seed), a process of one thread on each core.

    Threads of one fit wait for each other busily, which takes many times longer on a machine that does other work.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # by its timings, evaluation of held-out sets does not obey num_threads
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(fit, *zip(*jobs, strict=True)))


def fit(target: str, seed: int) -> dict[str, Any]:
    """Fit the models of all reviews and the candidates of their backtests.

    Returns:
        ``sums``, ``counts``, ``months``, ``blocks`` as :class:`benchmarks.schedules.Losses` has them, missing as None;
        ``backtests``: [review, model in force, the fields of a Backtest] of every pair.
    """
    from assets.monitoring.risk import log_losses
    from assets.training.tabular.train import fitted_version

    year = Year()
    learner = middle(year.model.learner).model_copy(update={"seed": seed})
    model = year.model.model_copy(update={"learner": learner})
    frame = year.of(target)
    month = year.month(frame)
    scores = np.empty((year.reviews + 1, len(frame)))
    for number in range(year.reviews + 1):
        predict = fitted_version(model, frame[frame["_known"] < year.fitted_at(number)], 1)
        scores[number] = predict(frame)
    np.save(year.scores(target, seed), scores)
    # By the month of the schedule and the local day of the prediction, which begins two hours before the month.
    local = frame["_time"].dt.tz_convert(year.domain.zone).dt.tz_localize(None)
    day = local.to_numpy("datetime64[D]").astype(np.int64)
    replayed = month >= 0
    cells, cell = np.unique(np.stack([month, day])[:, replayed], axis=1, return_inverse=True)
    months, cell = cells[0], cell.ravel()
    blocks = (cells[1] - cells[1][months > 0].min()) // BLOCK_DAYS
    truth = frame["_label"].to_numpy(np.float64)[replayed]
    sums = [np.bincount(cell, log_losses(row[replayed], truth)) for row in scores]
    return {
        # What a model says of months that it was fitted on is no loss of any schedule.
        "sums": [np.where(months < number, None, row).tolist() for number, row in enumerate(sums)],
        "counts": np.bincount(cell).tolist(),
        "months": months.tolist(),
        "blocks": blocks.tolist(),
        "backtests": _backtests(year, model, frame, scores),
    }


def _backtests(
    year: Year, model: ModelDeclaration, frame: pd.DataFrame, scores: Array
) -> list[tuple[int, int, dict[str, Any]]]:
    """The half-period backtest of every review, of each model that can be in force then; one candidate serves all."""
    from assets.monitoring.backtest import half_period
    from assets.training.tabular.train import fitted_version

    found = []
    for number in range(1, year.reviews + 1):
        start, end = year.domain.bounds(year.periods[number - 1])
        known = frame[frame["_known"] < end]
        candidate = _once(fitted_version)
        for champion in range(number):

            def predict(later: pd.DataFrame, row: Array = scores[champion]) -> Array:
                return row[later.index]

            test = half_period(model, known, start, end, predict, dict(model.learner.fixed), 1, fit=candidate)
            assert test is not None
            found.append((number, champion, asdict(test)))
    return found


def _once(fit: Callable[..., Callable[[pd.DataFrame], Array]]) -> Callable[..., Callable[[pd.DataFrame], Array]]:
    """A fit that is made on the first call, and whose first answer is kept: all calls are about the same rows."""
    answers: list[Array] = []

    def kept(*arguments: Any) -> Callable[[pd.DataFrame], Array]:
        def predict(rows: pd.DataFrame) -> Array:
            if not answers:
                answers.append(fit(*arguments)(rows))
            return answers[0]

        return predict

    return kept


def drifted(seed: int, ks: list[int], threshold: float) -> list[tuple[int, int, dict[str, Any]]]:
    """Drift reports of the reviews that policies by drift come to: the month beside what the model was fitted on.

    Returns:
        [review, model in force, fields ``drifted``, ``features``, ``psi`` of a Review], of each pair that is met.
    """
    from assets.monitoring.decision import LargestPSI, ManyDrifted, Review
    from assets.monitoring.drift import SCORE, compare, sample
    from benchmarks.schedules import follow

    year = Year()
    model, frame = year.model, year.of("arrivals")
    declared, kinds = model.monitoring, {item.name: item.kind for item in model.inputs}
    scores, month = np.load(year.scores("arrivals", seed)), year.month(frame)
    met: dict[tuple[int, int], dict[str, Any]] = {}

    def look(number: int, champion: int) -> Review:
        if (number, champion) not in met:
            learned = (frame["_known"] < year.fitted_at(champion)).to_numpy()
            both = (
                _inputs(model, sample(frame.assign(**{SCORE: scores[champion]})[rows], declared.sample, declared.seed))
                for rows in (learned, month == number - 1)
            )
            columns = compare(*both, kinds, declared.sample, declared.seed).features
            met[number, champion] = {
                "drifted": sum(column.drifted for column in columns),
                "features": len(columns),
                "psi": max(column.psi for column in columns),
            }
        return Review(year.periods[number - 1].isoformat()[:7], number, 0, 1.0, 0, **met[number, champion])

    for policy in (*(ManyDrifted(k=k) for k in ks), LargestPSI(threshold=threshold)):
        follow(policy, look, year.reviews)
    return [(number, champion, found) for (number, champion), found in sorted(met.items())]


def _inputs(model: ModelDeclaration, rows: pd.DataFrame) -> pd.DataFrame:
    """The model's inputs of these rows and their score, a category by its text, as a drift report takes them."""
    import pandas as pd

    from assets.monitoring.drift import SCORE
    from serving.models.inputs import derive

    spec = model.serving_spec(categories={})
    matrix = derive(spec.inputs, rows, rows)
    columns = {
        item.name: matrix[:, position] if item.categories is None else rows[item.source.request.fields[0]].to_numpy()
        for position, item in enumerate(spec.inputs)
    }
    return pd.DataFrame(columns).assign(**{SCORE: rows[SCORE].to_numpy()})
