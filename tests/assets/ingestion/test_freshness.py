"""A period is missing when its file was due; what is not over, or not due yet, is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from assets.ingestion.freshness import missing, silent_since
from tests.assets.ingestion.world import FEBRUARY, JANUARY, World


@pytest.mark.parametrize(
    ("now", "published", "late"),
    [
        (datetime(2020, 2, 5, tzinfo=UTC), set(), []),
        (datetime(2020, 2, 6, tzinfo=UTC), set(), [JANUARY]),
        (datetime(2020, 3, 10, tzinfo=UTC), {FEBRUARY}, [JANUARY]),
        (datetime(2020, 3, 10, tzinfo=UTC), {JANUARY, FEBRUARY}, []),
        (datetime(2020, 3, 5, tzinfo=UTC), {JANUARY}, []),
        (datetime(2026, 1, 1, tzinfo=UTC), {date(2020, m, 1) for m in range(1, 13)}, []),
    ],
)
def test_by_period(world: World, now: datetime, published: set[date | None], late: list[date]) -> None:
    assert missing(world.domain, world.domain.sources["readings"], published, now) == late


def test_a_feed_that_stalls_is_silent_since_it_told_last_and_one_that_never_told_is_not() -> None:
    last = datetime(2020, 1, 5, 12, tzinfo=UTC)
    assert silent_since(None, last, 60) is None
    assert silent_since(last, last + timedelta(minutes=60), 60) is None
    assert silent_since(last, last + timedelta(minutes=61), 60) == last
