"""The feed of a source: at least once and in any order it comes to the same rows, and the file corrects it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.ingestion.feed import FeedPublished, publish_feed
from assets.ingestion.feed_rows import fold, table_of
from assets.ingestion.publish import current_quarantine
from assets.ingestion.spec import Source
from serving.errors import DeclarationError
from serving.events.writer import EventWriter
from tests.assets.ingestion.world import FEBRUARY, JANUARY, READINGS, World, csv, good_rows

FED = {**READINGS, "feed": {"late_minutes": 60}}
NOW = datetime(2020, 1, 25, tzinfo=UTC)
Event = dict[str, Any]


@pytest.fixture
def fed(tmp_path: Path) -> World:
    made = World(tmp_path, FED)
    made.drop(b"site,limit\na,10\nb,20\n", None, "sites.csv", "sites")
    made.ingest(None, "sites")
    return made


def told(
    day: int, value: float | None, count: int | None = 1, after: float = 0, received: float = 1, **more: Any
) -> Event:
    """What is told of a day's reading ``after`` minutes, and received ``received`` minutes after that."""
    known = datetime(2020, 1, day, tzinfo=UTC) + timedelta(minutes=after)
    record = {"site": "a", "at": f"2020-01-{day:02d}T00:00:00Z", "value": value, "count": count, **more}
    return {"known_at": known.isoformat(), "received_at": (known + timedelta(minutes=received)).isoformat(),
            "record": record}  # fmt: skip


def push(world: World, events: Sequence[Event]) -> None:
    """As the gateway keeps them: in a segment that is closed."""
    writer = EventWriter(world.folder / "feeds" / "readings" / "gateway")
    writer.append(events)
    writer.close()


def publish(world: World, now: datetime = NOW) -> FeedPublished:
    source = world.domain.sources["readings"]
    return publish_feed(world.domain, source, world.lakehouse, world.folder / "feeds", world.landing, now, "run")


def values(world: World, period: date = JANUARY) -> list[tuple[int, float | None, datetime | None]]:
    rows = sorted(world.rows(period), key=lambda r: r["at"])
    return [(r["at"].day, r["value"], r["_known_at"]) for r in rows]


@pytest.mark.integration
def test_events_become_rows_as_they_were_known_last(fed: World) -> None:
    events = [told(1, None), told(1, 5.0, after=30), told(2, 7.0), told(3, 9.0), told(3, 9.5, after=600),
              told(4, 4.0, received=300)]  # fmt: skip
    push(fed, events)
    done = publish(fed)
    assert (done.segments, done.events, done.doubled, done.late, done.refused) == (1, 6, 0, 1, 0)
    corrected = datetime(2020, 1, 3, 10, tzinfo=UTC)
    arrived = datetime(2020, 1, 4, 5, tzinfo=UTC)
    assert values(fed) == [(1, 5.0, None), (2, 7.0, None), (3, 9.5, corrected), (4, 4.0, arrived)]
    assert [(p.period, p.status, p.rows) for p in done.periods] == [(JANUARY, "published", 4)]
    assert publish(fed) == FeedPublished()


@pytest.mark.integration
def test_doubled_and_disordered_in_several_segments_it_comes_to_the_same(fed: World, tmp_path: Path) -> None:
    events = [told(day, float(v), after=10 * v) for day in range(1, 8) for v in range(3)]
    push(fed, events)
    publish(fed)
    expected = values(fed)
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other", FED)
    other.drop(b"site,limit\na,10\nb,20\n", None, "sites.csv", "sites")
    other.ingest(None, "sites")
    mixed = [*events, *events[::2]]
    random.Random(5).shuffle(mixed)
    doubled = 0
    for start in range(0, len(mixed), 7):
        push(other, mixed[start : start + 7])
        doubled += publish(other).doubled
    assert values(other) == expected
    assert doubled == len(events[::2])


@pytest.mark.integration
def test_a_file_of_events_is_read_as_what_is_pushed(fed: World) -> None:
    folder = fed.landing / "feeds" / "readings"
    folder.mkdir(parents=True)
    lines = [json.dumps({k: v for k, v in told(1, 5.0).items() if k != "received_at"}), "{", "",
             json.dumps({"known_at": "2020-01-02T00:00:00", "record": {"site": "a"}}),
             json.dumps({"known_at": "2020-01-01T00:00:00Z", "record": {"at": "2031-01-01T00:00:00Z"}}),
             json.dumps({**told(2, 1.0), "received_at": "2020-01-02T00:00:00"})]  # fmt: skip
    (folder / "lost.jsonl").write_text("\n".join(lines))
    done = publish(fed, datetime(2020, 1, 1, 0, 30, tzinfo=UTC))
    assert (done.events, done.refused) == (5, 4)
    assert values(fed) == [(1, 5.0, None)]
    kept = fed.lakehouse.read(table_of("readings"))
    assert kept is not None
    refused = [r for r in kept.column("refused").to_pylist() if r]
    assert len(refused) == 4
    assert any("line 2" in r for r in refused)
    assert any("known_at needs an offset" in r for r in refused)
    assert any("lies in no period" in r for r in refused)
    # When a file's events came is not the file's to say; one of tomorrow is none.
    assert any("lies after it was received" in r for r in refused)
    assert [p.name.split(".")[-1] for p in folder.iterdir()] == ["published"]


@pytest.mark.integration
def test_a_copy_that_comes_hours_later_changes_nothing_of_when_it_was_known(fed: World) -> None:
    first = told(1, 5.0)
    push(fed, [first])
    publish(fed)
    push(fed, [{**first, "received_at": "2020-01-01T09:00:00+00:00"}, told(2, 1.0)])
    publish(fed)
    push(fed, [told(3, 2.0)])
    publish(fed)
    assert values(fed) == [(1, 5.0, None), (2, 1.0, None), (3, 2.0, None)]


@pytest.mark.integration
def test_whole_numbers_and_texts_come_as_they_were_told(fed: World) -> None:
    big = 2**53 + 1
    push(fed, [told(1, 1.0, count=big), told(2, 1.0, count=None), told(3, 1.0, count=7), told(4, 1.0, site=5)])
    publish(fed)
    rows = sorted(fed.rows(JANUARY), key=lambda r: r["at"])
    assert [r["count"] for r in rows] == [big, None, 7, 1]
    assert [r["site"] for r in rows] == ["a", "a", "a", "5"]


@pytest.mark.integration
def test_a_rule_that_rejects_a_file_puts_a_row_of_the_feed_aside(tmp_path: Path) -> None:
    rules = [{**r, "action": "reject"} if r["name"] == "count_positive" else r for r in READINGS["rules"]]
    world = World(tmp_path, {**FED, "rules": rules})
    world.drop(b"site,limit\na,10\n", None, "sites.csv", "sites")
    world.ingest(None, "sites")
    push(world, [told(1, 5.0, count=-1), told(2, 6.0)])
    assert publish(world).periods[0].quarantined == 1
    assert values(world) == [(2, 6.0, None)]


@pytest.mark.integration
def test_the_contract_judges_what_is_told(fed: World) -> None:
    push(fed, [told(1, 5000.0), told(2, 1.0, count=-1), told(3, 1.0, count="many"), told(4, 2.0)])  # type: ignore[arg-type]
    done = publish(fed)
    assert values(fed) == [(1, None, None), (4, 2.0, None)]
    assert done.periods[0].quarantined == 2
    aside = current_quarantine(fed.lakehouse, "readings")
    assert aside is not None
    assert {r["rule"] for r in aside.to_pylist()} == {"count_positive", "types"}


@pytest.mark.integration
def test_the_file_settles_a_period_and_says_by_how_much_the_feed_was_wrong(fed: World) -> None:
    push(fed, [told(day, float(day - 1), day - 1) for day in range(1, 20)])
    publish(fed)
    rows = good_rows(JANUARY)
    rows[4][2] = "44.0"
    fed.drop(csv(rows))
    settled = datetime(2020, 2, 1, tzinfo=UTC)
    report = fed.ingest(now=settled).report
    correction = report["correction"]
    assert (correction["added"], correction["removed"], correction["changed"]) == (1, 0, 1)
    known = {day: at for day, _, at in values(fed)}
    assert known == {day: settled if day in (5, 20) else None for day in range(1, 21)}
    before = values(fed)
    push(fed, [told(5, 45.0, 4, after=60)])
    assert [(p.period, p.status) for p in publish(fed).periods] == [(JANUARY, "settled")]
    assert values(fed) == before


@pytest.mark.integration
def test_events_of_a_run_that_was_killed_before_it_published_are_found(fed: World) -> None:
    push(fed, [told(1, 5.0)])
    source = fed.domain.sources["readings"]
    from assets.ingestion import feed

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    whole = feed._publish_period
    feed._publish_period = killed  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            publish_feed(fed.domain, source, fed.lakehouse, fed.folder / "feeds", fed.landing, NOW, "run")
    finally:
        feed._publish_period = whole
    assert values(fed) == []
    assert [(p.period, p.status) for p in publish(fed).periods] == [(JANUARY, "published")]
    assert values(fed) == [(1, 5.0, None)]
    push(fed, [{**told(1, 5.0), "record": {**told(1, 5.0)["record"], "at": "2020-02-01T00:00:00Z"}}])
    assert [(p.period, p.status) for p in publish(fed).periods] == [(FEBRUARY, "published")]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 4), st.sampled_from([None, "1", "2"])), min_size=1, max_size=12
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_events_does_not_matter(events: list[tuple[int, int, str | None]], chance: random.Random) -> None:
    source = Source.model_validate(FED)
    start = datetime(2020, 1, 1, tzinfo=UTC)

    def frame(items: list[tuple[int, int, str | None]]) -> pd.DataFrame:
        at = [pd.Timestamp(start + timedelta(minutes=m)) for _, m, _ in items]
        return pd.DataFrame(
            {"site": [str(s) for s, _, _ in items], "at": "x", "value": pd.Series([v for *_, v in items], dtype=object),
             "count": None, "_event": [f"{s}-{m}-{v}" for s, m, v in items], "_told": at, "_received": at}
        )  # fmt: skip

    unique = sorted(set(events), key=str)
    shuffled = list(unique)
    chance.shuffle(shuffled)
    pd.testing.assert_frame_equal(fold(frame(unique), source), fold(frame(shuffled), source))


def test_a_feed_needs_to_know_the_period_of_a_record() -> None:
    with pytest.raises((DeclarationError, ValueError), match="a rule with in_period"):
        Source.model_validate({**FED, "rules": [r for r in FED["rules"] if "in_period" not in r]})
