"""A correction that arrives after training is in no training set as known at the time, neither label nor feature."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from assets.features.training_set import read_examples
from tests.faults.forker import Forker
from tests.faults.library import APRIL, JANUARY, MARCH, Library, late

pytestmark = [pytest.mark.faults, pytest.mark.integration]
KNOWN_AT = "2021-04-20T00:00:00+00:00"
BEFORE, AFTER = "2021-03-20T12:00:00+00:00", "2021-04-25T12:00:00+00:00"


def publish(forker: Forker, period: str, known_at: str) -> None:
    forker.does("ingest", period, "loans", known_at)
    assert forker.does("build", period) == "built"
    forker.does("export", period)


def a_loan_in_time(library: Library) -> tuple[str, str]:
    """A loan of the first days of January that came back in time, and its reader."""
    examples = labels(library, datetime(2021, 4, 1, tzinfo=UTC))
    found = examples[(examples["_label"] == 0) & (examples["lent_at"] < pd.Timestamp("2021-01-06", tz="UTC"))]
    return str(found.iloc[0]["_id"]), str(found.iloc[0]["reader"])


def labels(library: Library, as_of: datetime) -> pd.DataFrame:
    model = library.domain.models["late_return"]
    return read_examples(model, library.settings.warehouse_file, "main", JANUARY, APRIL, as_of)


def label_of(library: Library, loan: str, as_of: datetime) -> int:
    examples = labels(library, as_of)
    return int(examples.loc[examples["_id"] == loan, "_label"].item())


@pytest.fixture(scope="module")
def corrected(forker: Forker, built: Library) -> dict[str, Any]:
    """Sets before and after a January loan turns out to have come back late, which becomes known on 20 April."""
    learn, later = forker.does("training_sets", "2021-05-10T00:00:00+00:00")
    loan, reader = a_loan_in_time(built)
    features = forker.does("historical", reader, BEFORE, True)
    built.redrop(JANUARY, late({loan}))
    publish(forker, "2021-01-01", KNOWN_AT)
    learn_again, later_again = forker.does("training_sets", "2021-05-10T00:00:00+00:00")
    return {
        "loan": loan,
        "reader": reader,
        "features": features,
        "learn": (learn, learn_again),
        "later": (later, later_again),
    }


def test_the_set_to_learn_from_is_made_anew_and_holds_the_same_rows(corrected: dict[str, Any]) -> None:
    old, new = corrected["learn"]
    assert old != new, "a set is named by what it was built from"
    pd.testing.assert_frame_equal(pd.read_parquet(old), pd.read_parquet(new))
    contents = {json.loads(Path(path).with_suffix(".json").read_text())["content"] for path in (old, new)}
    assert len(contents) == 1, "so no other version is trained"


def test_the_label_counts_from_when_it_was_known(built: Library, corrected: dict[str, Any]) -> None:
    assert label_of(built, corrected["loan"], datetime(2021, 4, 1, tzinfo=UTC)) == 0
    assert label_of(built, corrected["loan"], datetime(2021, 4, 20, tzinfo=UTC)) == 1


def test_features_count_it_from_when_it_was_known(forker: Forker, corrected: dict[str, Any]) -> None:
    reader = corrected["reader"]
    assert forker.does("historical", reader, BEFORE, True) == corrected["features"]
    # The control: the join that asks not when a value became known takes it.
    assert forker.does("historical", reader, BEFORE, False) != corrected["features"]
    # The other control: once it is known, both joins take it.
    known = forker.does("historical", reader, AFTER, True)
    assert known == forker.does("historical", reader, AFTER, False)
    assert known["reader_daily__late_share"] is not None


def test_the_later_set_sees_it_only_in_predictions_after_it_was_known(corrected: dict[str, Any]) -> None:
    old, new = (pd.read_parquet(path).set_index("_id") for path in corrected["later"])
    assert list(old.index) == list(new.index)
    share = "reader_daily__late_share"
    differs = ~((old[share] == new[share]) | (old[share].isna() & new[share].isna()))
    moved = new[differs]
    assert len(moved) > 0
    assert set(moved["reader"]) == {corrected["reader"]}
    assert (moved["_time"] >= pd.Timestamp(KNOWN_AT)).all()


def test_a_removal_counts_from_when_it_was_known(forker: Forker, built: Library, corrected: dict[str, Any]) -> None:
    """The last one here: it takes a reader's March loans away, which becomes known in May."""
    examples = labels(built, datetime(2021, 4, 1, tzinfo=UTC))
    march = examples[examples["lent_at"] >= pd.Timestamp("2021-03-01", tz="UTC")]
    reader = next(r for r in march["reader"].value_counts().index if r != corrected["reader"])
    before = forker.does("historical", reader, AFTER, True)
    built.redrop(MARCH, lambda rows: [r for r in rows if r["reader"] != reader])
    publish(forker, "2021-03-01", "2021-05-01T00:00:00+00:00")
    unfiltered = forker.does("historical", reader, AFTER, False)
    assert unfiltered != before, "the control: the removal is in the newest version"
    assert forker.does("historical", reader, AFTER, True) == before
