"""Drift is found where it is and named; what cannot be compared is refused; a report's cost is bounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from assets.monitoring.drift import Comparison, Kind, compare, sample
from assets.monitoring.psi import index, psi
from assets.training.tabular.scores import auc
from serving.errors import ClearwayError

KINDS: dict[str, Kind] = {"level": "number", "share": "number", "always": "number", "site": "category"}


def frame(rows: int, seed: int, **moved: Any) -> pd.DataFrame:
    """Calibrated scores that depend on ``level``; ``always`` is constant."""
    generator = np.random.default_rng(seed)
    level = generator.normal(size=rows)
    score = 1 / (1 + np.exp(-level))
    return pd.DataFrame(
        {
            "level": level,
            "share": np.where(generator.random(rows) < 0.1, np.nan, generator.random(rows)),
            "always": 1.0,
            "site": generator.choice(["a", "b", "c"], rows),
            "score": score,
            "label": (generator.random(rows) < score).astype(float),
        }
    ).assign(**moved)


def drifted(found: Comparison) -> set[str]:
    return {column.column for column in found.features if column.drifted}


def test_a_frame_does_not_drift_from_itself() -> None:
    whole = frame(6000, 1)
    found = compare(whole.iloc[::2], whole.iloc[1::2], KINDS, 2500, 7, threshold=0.5)
    assert drifted(found) == set()
    assert found.drifted_share == 0
    assert not found.score.drifted
    assert found.label is not None
    assert not found.label.drifted
    assert max(column.psi for column in found.features) < 0.02
    assert (found.rows_reference, found.rows_current) == (2500, 2500), "the sample bounds what is compared"
    assert [column.column for column in found.features] == list(KINDS)
    always = found.features[2]
    assert (always.method, always.statistic, always.psi) == ("constant", 0.0, 0.0)
    assert found.quality.constant_reference == found.quality.constant_current == ("always",)
    assert found.quality.missing_current == pytest.approx(0.1 / 4, abs=0.003)

    page = found.html.decode()
    assert page.startswith("<!DOCTYPE html>")
    assert page.endswith("</html>")
    for name in ("level", "share", "site", "score", "label"):
        assert name in page
    assert 'src="http' not in page


def test_shifted_columns_are_found_and_no_other() -> None:
    reference, moved = frame(3000, 1), frame(3000, 2)
    moved["level"] += 1
    moved["always"] = 2.0
    moved["site"] = np.where(np.arange(3000) % 2 == 0, "d", moved["site"])
    moved["score"] = moved["score"] ** 2
    moved["label"] = (np.arange(3000) % 5 == 0).astype(float)
    moved.loc[::2, "label"] = np.nan
    found = compare(reference, moved, KINDS, 5000, 7, threshold=0.5)
    assert drifted(found) == {"level", "always", "site"}
    assert found.drifted_share == 0.75
    assert found.score.drifted
    assert found.label is not None
    assert found.label.drifted
    assert {c.column: c.method for c in found.features}["level"].startswith("Wasserstein")
    assert all(c.psi > 0.25 for c in found.features if c.drifted)

    known = moved.dropna(subset=["label"])
    assert found.current is not None
    assert found.current.rows == len(known) == 1500
    p, y = known["score"].to_numpy(), known["label"].to_numpy()
    assert found.current.log_loss == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert found.current.auc == pytest.approx(auc(y, p))
    assert found.current.accuracy == pytest.approx(np.mean((p >= 0.5) == (y == 1)))
    assert found.reference is not None
    assert found.reference.log_loss < found.current.log_loss


def test_few_rows_are_tested_and_one_class_has_no_ranking() -> None:
    moved = frame(400, 2, label=1.0, site="a")
    moved["level"] += 1
    moved["share"] = 0.5
    found = compare(frame(3000, 1), moved, KINDS, 5000, 7)
    by_name = {column.column: column for column in found.features}
    assert by_name["level"].method == "K-S p_value"
    assert by_name["level"].statistic < by_name["level"].threshold == 0.05
    assert {"level", "site", "share"} <= drifted(found)
    assert found.quality.constant_current == ("share", "always", "site")
    assert found.current is not None
    assert (found.current.auc, found.current.accuracy, found.current.positive_share) == (None, None, 1.0)


def test_a_few_rows_do_not_drift_by_chance() -> None:
    reference, seeds = frame(3000, 1), range(2, 7)
    flags = [c.drifted for seed in seeds for c in compare(reference, frame(40, seed), KINDS, 5000, 7).features]
    assert sum(flags) <= 2, "of 20 at a level of 0.05"


def test_without_labels_nothing_is_said_of_them() -> None:
    found = compare(frame(200, 1), frame(200, 2, label=np.nan), KINDS, 100, 7)
    assert found.label is None
    assert found.current is None
    assert found.reference is not None
    assert found.rows_current == 100


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda f: f.head(0), "the current has no row"),
        (lambda f: f.drop(columns="level"), "the current has no column level"),
        (lambda f: f.drop(columns="score"), "the current has no column score"),
        (lambda f: f.assign(more=1), "a column more of no known kind"),
        (lambda f: f.assign(level=np.nan), "every value of level is missing in the current"),
        (lambda f: f.assign(site=None), "every value of site is missing in the current"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(changed: Any, told: str) -> None:
    with pytest.raises(ClearwayError, match=told):
        compare(frame(50, 1), changed(frame(50, 2)), KINDS, 100, 7)
    with pytest.raises(ClearwayError, match=told.replace("current", "reference")):
        compare(changed(frame(50, 2)), frame(50, 1), KINDS, 100, 7)


def test_psi_by_hand() -> None:
    # Shares .5/.5 and .8/.2: .3 ln 1.6 - .3 ln .4.
    assert index(np.array([5, 5]), np.array([8, 2])) == pytest.approx(0.3 * math.log(1.6) - 0.3 * math.log(0.4))
    assert psi(pd.Series(list("aabb")), pd.Series(list("aaab"))) == pytest.approx(
        0.25 * math.log(1.5) - 0.25 * math.log(0.5)
    )
    # 100 different values: ten of each tenth. All of the current lies in the last, and nine shares are the smallest.
    reference, current = pd.Series(np.arange(100.0)), pd.Series([95.0, 96.0, np.nan])
    assert psi(reference, current) == pytest.approx(
        0.9 * math.log(10) + 9 * (1e-4 - 0.1) * math.log(1e-4 / 0.1), rel=1e-6
    )
    assert psi(reference, reference.sample(frac=1, random_state=1)) == 0
    assert psi(reference, reference + 1000) == psi(reference, current), "beyond the reference is its last bin"
    with pytest.raises(ValueError, match="at least one value"):
        psi(reference, pd.Series([np.nan]))


def test_a_sample_is_drawn_again_the_same() -> None:
    whole = frame(300, 1)
    drawn = sample(whole, 100, 7)
    pd.testing.assert_frame_equal(drawn, sample(whole, 100, 7))
    assert len(drawn) == 100
    assert len(sample(whole, 1000, 7)) == 300
    assert not drawn.equals(sample(whole, 100, 8))
