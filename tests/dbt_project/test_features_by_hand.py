"""Features of random flights, computed again in pandas from only what was known when the prediction was asked for."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from tests.dbt_project.building import raw, read

pytestmark = pytest.mark.integration

NEW_YORK = ZoneInfo("America/New_York")
HOUR, DAY = pd.Timedelta(hours=1), pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def record(warehouse: Path) -> pd.DataFrame:
    """Raw flights with their instants, found here from the recorded local times and not from the schedule's."""
    flights = raw()["flights"]
    zones = read(warehouse, "select airport, time_zone from marts.dim_airports").set_index("airport").time_zone
    flights["due"] = flights.time_hour + pd.to_timedelta(flights.minute, unit="min")
    flights["left"] = flights.due + pd.to_timedelta(flights.dep_delay, unit="min")
    flights["landed"] = pd.Series(pd.NaT, index=flights.index, dtype="datetime64[ns, UTC]")
    done = flights[flights.arr_delay.notna()]
    for zone, group in done.groupby(done.dest.map(zones)):
        # On the ground some time after the air time: the one midnight that puts the arrival clock right after it.
        earliest = group.left + pd.to_timedelta(group.air_time, unit="min")
        local = earliest.dt.tz_convert(ZoneInfo(str(zone))).dt
        clock = (group.arr_time // 100 * 60 + group.arr_time % 100).astype(int)
        ahead = (clock - local.hour * 60 - local.minute) % 1440
        flights.loc[group.index, "landed"] = earliest + pd.to_timedelta(ahead, unit="min")
    flights["route"] = flights.origin + "-" + flights.dest
    flights["cancelled"] = flights.dep_time.isna()
    flights["known"] = flights.landed.where(~flights.cancelled, flights.due)
    return flights


@pytest.fixture(scope="module")
def examples(warehouse: Path) -> pd.DataFrame:
    """Two hundred examples of March, red-eyes and late evenings among them."""
    march = read(
        warehouse, "select * from training.examples_arrival_delay where period = '2013-03-01' order by flight_id"
    )
    march = march[march.tailnum.notna()]
    late = march[march.scheduled_departure.dt.hour < 4]
    return pd.concat([march.sample(150, random_state=3), late.sample(50, random_state=3)])


def served(warehouse: Path, mart: str, key: str, value: str, at: pd.Timestamp) -> pd.Series:
    """The row that holds at an instant."""
    rows = read(
        warehouse,
        f"select * from features.{mart} where {key} = '{value}' and event_timestamp <= '{at}' and created_at <= '{at}' "
        "order by event_timestamp desc, created_at desc limit 1",
    )
    return rows.iloc[0]


def same(got: object, expected: float) -> bool:
    value = np.nan if got is None or pd.isna(got) else float(got)  # type: ignore[call-overload, arg-type]
    return bool(np.isclose(value, expected, rtol=1e-9, equal_nan=True))


@pytest.mark.parametrize(
    ("mart", "key"),
    [
        ("feat_carrier_daily", "carrier"),
        ("feat_route_daily", "route"),
        ("feat_origin_daily", "origin"),
        ("feat_aircraft_daily", "tailnum"),
    ],
)
def test_trailing_days(warehouse: Path, record: pd.DataFrame, examples: pd.DataFrame, mart: str, key: str) -> None:
    for _, example in examples.iloc[::5].iterrows():
        at = example.prediction_time
        midnight = at.tz_convert(NEW_YORK).normalize()
        known = record[(record[key] == example[key]) & (record.known <= at)]
        for days in (28, 7):
            start = (midnight - pd.DateOffset(days=days)).tz_convert("UTC")
            window = known[(known.known >= start) & (known.known < midnight.tz_convert("UTC"))]
            if days == 28 and window.empty:
                break  # nothing flew in 28 days: no row holds from this midnight
            row = served(warehouse, mart, key, example[key], at)
            assert row.event_timestamp == midnight
            arrived = window[~window.cancelled]
            suffix = f"{days}d"
            assert row[f"flights_{suffix}"] == len(window), (mart, example.flight_id)
            assert same(row[f"mean_arrival_delay_{suffix}"], arrived.arr_delay.mean())
            assert same(row[f"mean_departure_delay_{suffix}"], arrived.dep_delay.mean())
            assert same(row[f"late_share_{suffix}"], (arrived.arr_delay > 15).mean() if len(arrived) else np.nan)
            assert same(row[f"cancelled_share_{suffix}"], window.cancelled.mean() if len(window) else np.nan)


def test_origin_at_the_hour(warehouse: Path, record: pd.DataFrame, examples: pd.DataFrame) -> None:
    weather = raw()["weather"]
    for _, example in examples.iloc[::3].iterrows():
        row = served(warehouse, "feat_origin_recent", "origin", example.origin, example.prediction_time)
        now = example.prediction_time.floor("h")
        assert row.event_timestamp == now
        here = record[record.origin == example.origin]
        left = here[(here.left > now - 2 * HOUR) & (here.left <= now)]
        assert row.departures_2h == len(left)
        assert same(row.mean_departure_delay_2h, left.dep_delay.mean())
        assert same(row.delayed_share_2h, (left.dep_delay > 15).mean() if len(left) else np.nan)
        today = now.tz_convert(NEW_YORK).normalize()
        assert row.cancellations_today == ((here.due >= today) & (here.due <= now) & here.cancelled).sum()
        waiting = (here.due > now - 2 * HOUR) & (here.due <= now) & ~here.cancelled & (here.left > now)
        assert row.overdue_departures == waiting.sum()
        seen = weather[(weather.origin == example.origin) & (weather.time_hour <= now - HOUR)]
        newest = seen.sort_values("time_hour").iloc[-1]
        assert same(row.temperature, newest.temp)
        assert same(row.visibility, newest.visib)


def test_carrier_at_the_hour(warehouse: Path, record: pd.DataFrame, examples: pd.DataFrame) -> None:
    for _, example in examples.iloc[::3].iterrows():
        row = served(warehouse, "feat_carrier_recent", "carrier", example.carrier, example.prediction_time)
        now = example.prediction_time.floor("h")
        flown = record[record.carrier == example.carrier]
        landed = flown[(flown.landed > now - 4 * HOUR) & (flown.landed <= now)]
        left = flown[(flown.left > now - 2 * HOUR) & (flown.left <= now)]
        assert row.arrivals_4h == len(landed)
        assert same(row.mean_arrival_delay_4h, landed.arr_delay.mean())
        assert same(row.late_share_4h, (landed.arr_delay > 15).mean() if len(landed) else np.nan)
        assert same(row.mean_departure_delay_2h, left.dep_delay.mean())


def test_aircraft_as_last_seen(warehouse: Path, record: pd.DataFrame, examples: pd.DataFrame) -> None:
    checked = 0
    for _, example in examples.iloc[::3].iterrows():
        at = example.prediction_time
        own = record[(record.tailnum == example.tailnum) & (record.left <= at)]
        landed = own[own.landed <= at].sort_values("landed")
        last_movement = max([*own.left, *landed.landed], default=None)
        if last_movement is None or landed.empty or landed.landed.iloc[-1] < last_movement - 6 * DAY:
            continue
        row = served(warehouse, "feat_aircraft_recent", "tailnum", example.tailnum, at)
        assert row.event_timestamp == last_movement
        assert row.last_arrival_delay == landed.arr_delay.iloc[-1]
        checked += 1
    assert checked > 30
