"""No row of a feature mart depends on anything known after it, and history survives corrections."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.dbt_project.building import FIRST, LAST, build, raw, read, write_raw

pytestmark = pytest.mark.integration

MARTS = [
    *(f"features.feat_{name}_daily" for name in ("carrier", "route", "origin", "aircraft")),
    *(f"features.feat_{name}_recent" for name in ("carrier", "origin", "aircraft")),
]
TABLES = [*MARTS, "marts.fct_flights", "training.examples_arrival_delay", "marts.time_spine_daily"]


def differing(one: Path, other: Path, table: str, where: str = "true") -> tuple[int, int]:
    """Rows of a table that only the first file has, and that only the second has."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"attach '{one}' as a (read_only); attach '{other}' as b (read_only)")
        connection.execute("set TimeZone = 'UTC'")
        counts = [
            connection.execute(
                f"select count(*) from (select * from {x}.{table} where {where} except select * from {y}.{table})"
            ).fetchone()
            for x, y in (("a", "b"), ("b", "a"))
        ]
    return counts[0][0], counts[1][0]  # type: ignore[index]


@pytest.fixture(scope="module")
def monthly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same two months, each built when it arrived."""
    folder = tmp_path_factory.mktemp("monthly")
    file, tables = folder / "monthly.duckdb", raw()
    february = {
        name: table[table["_period"].astype(str) == FIRST] if "_period" in table else table
        for name, table in tables.items()
    }
    write_raw(file, february)
    build(file, folder / "target", FIRST, "2013-03-01")
    write_raw(file, tables)
    build(file, folder / "target", "2013-03-01", LAST)
    return file


def test_month_by_month_gives_what_one_run_gives(warehouse: Path, monthly: Path) -> None:
    for table in TABLES:
        assert differing(warehouse, monthly, table) == (0, 0), table
        assert read(monthly, f"select count(*) as n from {table}").n[0] > 0


def test_nothing_before_an_instant_depends_on_what_was_known_after(warehouse: Path, tmp_path: Path) -> None:
    """Everything unknown at one instant is changed; every row that held until then must stay as it is."""
    now = pd.Timestamp("2013-03-14 19:20", tz="UTC")
    tables = raw()
    flights, weather = tables["flights"], tables["weather"]
    times = read(
        warehouse,
        "select carrier, flight, origin, flight_date, weather_hour as time_hour, scheduled_departure, actual_departure,"
        " actual_arrival from marts.fct_flights",
    )
    times["day"] = pd.to_datetime(times.flight_date).dt.day
    times["month"] = pd.to_datetime(times.flight_date).dt.month
    times["minute"] = times.scheduled_departure.dt.minute
    keys = ["carrier", "flight", "origin", "month", "day", "time_hour", "minute"]
    flights = flights.merge(times.drop(columns="flight_date"), on=keys, how="left", validate="one_to_one")
    not_left = (flights.actual_departure > now) | (flights.scheduled_departure > now)
    not_landed = (flights.actual_arrival > now) | flights.actual_arrival.isna() | not_left
    seeded = np.random.default_rng(7)
    shift = pd.Series(seeded.integers(30, 300, len(flights)), index=flights.index)
    flights.loc[not_left, "dep_delay"] += shift[not_left]
    flights.loc[not_landed, "arr_delay"] += shift[not_landed]
    cancelled = (flights.scheduled_departure > now) & (seeded.random(len(flights)) < 0.2)
    flights.loc[cancelled, ["dep_time", "dep_delay", "arr_delay", "air_time"]] = None
    later = weather.time_hour + pd.Timedelta(hours=1) > now
    weather.loc[later, ["temp", "visib", "precip"]] = [1.0, 0.1, 3.0]
    tables["flights"] = flights[raw()["flights"].columns]
    changed = tmp_path / "changed.duckdb"
    write_raw(changed, tables)
    build(changed, tmp_path / "target", FIRST, LAST)
    for table in MARTS:
        held = f"event_timestamp <= timestamptz '{now.isoformat()}'"
        assert differing(warehouse, changed, table, held) == (0, 0), table
        assert differing(warehouse, changed, table)[0] > 0, f"{table}: the change should show afterwards"


KNOWN_AT = pd.Timestamp("2013-03-10 12:00", tz="UTC")


@pytest.fixture(scope="module")
def corrected(monthly: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, str]:
    """February delivered again: one flight of the 25th turns out 5 hours late, another was never in the schedule.

    This becomes known on 10 March. Gives the warehouse, the carrier and aircraft of the one, the carrier of the other.
    """
    folder = tmp_path_factory.mktemp("corrected")
    shutil.copyfile(monthly, folder / "warehouse.duckdb")
    tables = raw()
    flights = tables["flights"]
    that_day = flights[(flights.month == 2) & (flights.day == 25)]
    late = that_day[(that_day.arr_delay < 0) & (that_day.carrier == "DL")].index[20]
    gone = that_day[(that_day.arr_delay > 60) & (that_day.carrier != "DL")].index[0]
    names = (flights.carrier[late], flights.tailnum[late], flights.carrier[gone])
    flights.loc[late, ["arr_delay", "_known_at"]] = [300.0, KNOWN_AT]
    tables["flights"] = flights.drop(index=gone)
    write_raw(folder / "warehouse.duckdb", tables)
    build(folder / "warehouse.duckdb", folder / "target", FIRST, "2013-03-01")
    return folder / "warehouse.duckdb", *names


def carrier_rows(file: Path, carrier: str) -> pd.DataFrame:
    return read(
        file,
        f"select * from features.feat_carrier_daily where carrier = '{carrier}' order by event_timestamp, created_at",
    )


def first_versions(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as they were known when they began to hold, before the correction came."""
    known = rows[(rows.created_at == rows.event_timestamp) & (rows.event_timestamp < KNOWN_AT)]
    return known.reset_index(drop=True)


def test_a_correction_becomes_a_version_known_when_it_came(
    monthly: Path, corrected: tuple[Path, str, str, str]
) -> None:
    file, carrier, _, _ = corrected
    before, rows = carrier_rows(monthly, carrier), carrier_rows(file, carrier)
    pd.testing.assert_frame_equal(first_versions(rows), first_versions(before))
    versions = rows[rows.created_at != rows.event_timestamp]
    assert set(versions.created_at) == {KNOWN_AT}
    assert versions.event_timestamp.min() == pd.Timestamp("2013-02-26 05:00", tz="UTC")
    assert versions.event_timestamp.max() == pd.Timestamp("2013-03-10 05:00", tz="UTC")
    old = before.set_index("event_timestamp").mean_arrival_delay_28d
    new = rows.groupby("event_timestamp").last().mean_arrival_delay_28d
    assert (new[versions.event_timestamp] > old[versions.event_timestamp]).all()
    untouched = new.index < versions.event_timestamp.min()
    assert (new[untouched] == old[untouched]).all()
    after = (new.index > KNOWN_AT) & (new.index <= pd.Timestamp("2013-03-25 12:00", tz="UTC"))
    assert (new[after] > old[after]).all(), "what holds after the correction was known is computed from it"


def test_a_corrected_flight_has_two_labels_and_two_histories(corrected: tuple[Path, str, str, str]) -> None:
    file, _, tailnum, _ = corrected
    labels = read(
        file,
        "select is_late, label_known_at from training.examples_arrival_delay where flight_id in "
        "(select flight_id from marts.fct_flights where known_at is not null) order by label_known_at",
    )
    assert labels.is_late.tolist() == [0, 1]
    assert labels.label_known_at[1] == KNOWN_AT
    movements = read(
        file, f"select * from features.feat_aircraft_recent where tailnum = '{tailnum}' and created_at = '{KNOWN_AT}'"
    )
    assert (movements.last_arrival_delay == 300).any()


def test_a_removed_flight_does_not_rewrite_history(monthly: Path, corrected: tuple[Path, str, str, str]) -> None:
    """It took its own evidence along: the change counts from the delivery's newest correction on."""
    file, _, _, carrier = corrected
    before, rows = carrier_rows(monthly, carrier), carrier_rows(file, carrier)
    pd.testing.assert_frame_equal(first_versions(rows), first_versions(before))
    versions = rows[rows.created_at != rows.event_timestamp]
    assert set(versions.created_at) == {KNOWN_AT}
    first, last = versions.event_timestamp.min(), versions.event_timestamp.max()
    assert pd.Timestamp("2013-02-26", tz="UTC") < first < pd.Timestamp("2013-02-28", tz="UTC")
    assert last == pd.Timestamp("2013-03-10 05:00", tz="UTC")
    assert len(versions) == (last - first).days + 1, "every day that counted the flight, and no other"


def test_a_rebuild_of_what_is_there_changes_nothing(monthly: Path, tmp_path: Path) -> None:
    file = tmp_path / "again.duckdb"
    shutil.copyfile(monthly, file)
    build(file, tmp_path / "target", FIRST, LAST)
    for table in TABLES:
        assert differing(monthly, file, table) == (0, 0), table
