"""What the marts say about real flights."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from tests.dbt_project.building import raw, read

pytestmark = pytest.mark.integration


def test_every_flight_is_there_once(warehouse: Path) -> None:
    flights = read(warehouse, "select flight_id, period from marts.fct_flights")
    assert len(flights) == len(raw()["flights"]) == flights.flight_id.nunique()


def test_instants_agree_with_the_clocks_at_both_ends(warehouse: Path) -> None:
    """Delays moved the schedule; the recorded local times of departure and arrival were not used."""
    flights = read(
        warehouse,
        """
        select f.actual_departure, f.actual_arrival, a.time_zone, r.dep_time, r.arr_time
        from marts.fct_flights f
        join marts.dim_airports a on a.airport = f.dest
        join raw.flights r
            on r.carrier = f.carrier and r.flight = f.flight and r.origin = f.origin
            and make_date(r.year, r.month, r.day) = f.flight_date
            and r.time_hour + to_minutes(r.minute) = f.scheduled_departure
        where f.actual_arrival is not null
        """,
    )
    assert len(flights) > 45_000
    assert (_clock(flights.actual_departure, "America/New_York") == flights.dep_time).all()
    # One flight landed in the hour that daylight saving skips; the record kept the old clock.
    skipped = flights.actual_arrival == pd.Timestamp("2013-03-10 07:03", tz="UTC")
    assert flights[skipped].arr_time.tolist() == [203]
    for zone, group in flights[~skipped].groupby("time_zone"):
        assert (_clock(group.actual_arrival, str(zone)) == group.arr_time).all(), zone


def _clock(instants: pd.Series, zone: str) -> pd.Series:
    local = instants.dt.tz_convert(ZoneInfo(zone)).dt
    return local.hour * 100 + local.minute


def test_a_flight_over_midnight_and_zones_has_its_elapsed_time(warehouse: Path) -> None:
    rows = read(
        warehouse,
        "select dest, min(scheduled_elapsed) as low, max(scheduled_elapsed) as high from marts.fct_flights "
        "where dest in ('HNL', 'SJU', 'LAX', 'BOS', 'PSE') group by 1",
    ).set_index("dest")
    assert 600 < rows.low["HNL"] < rows.high["HNL"] < 720
    assert 190 < rows.low["SJU"] < rows.high["SJU"] < 270
    assert 200 < rows.low["PSE"] < rows.high["PSE"] < 270
    assert 300 < rows.low["LAX"] < rows.high["LAX"] < 450
    assert 50 < rows.low["BOS"] < rows.high["BOS"] < 110


def test_repairs_are_made(warehouse: Path) -> None:
    makers = set(read(warehouse, "select distinct manufacturer from marts.dim_aircraft").manufacturer)
    assert {"AIRBUS", "MCDONNELL DOUGLAS"} <= makers
    assert not {"AIRBUS INDUSTRIE", "MCDONNELL DOUGLAS AIRCRAFT CO", "MCDONNELL DOUGLAS CORPORATION"} & makers
    added = read(warehouse, "select airport from marts.dim_airports where listed_in = 'airport_reference'")
    assert set(added.airport) == {"SJU", "STT", "BQN", "PSE"}
    assert read(warehouse, "select max(wind_speed) as w from features.feat_origin_recent").w[0] < 150


def test_labels_are_those_of_the_record(warehouse: Path) -> None:
    rates = read(
        warehouse, "select period, avg(is_late) as rate from training.examples_arrival_delay group by 1 order by 1"
    )
    flights = raw()["flights"].dropna(subset=["arr_delay"])
    expected = (flights.arr_delay > 15).groupby(flights.month).mean()
    assert rates.rate.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
