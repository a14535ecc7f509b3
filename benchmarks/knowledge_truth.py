"""Questions of several hops with right answers by SQL, over the warehouse and the NTSB export itself.

Nothing here reads the graph, its declared queries or the parts that it is made of: registrations and airports are
taken from the CSV by DuckDB, flights and aircraft from the marts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.knowledge_phrasings import FREE, OTHERS

if TYPE_CHECKING:
    import duckdb

SEED, EACH = 6, 2
YEARS = (1990, 1995, 2000, 2005, 2010, 2013)
# As people shorten names: neither a code nor what the tables have.
SHORT: Mapping[str, str] = {
    "AA": "American", "AS": "Alaska", "B6": "JetBlue", "DL": "Delta", "F9": "Frontier", "FL": "AirTran",
    "HA": "Hawaiian", "UA": "United", "WN": "Southwest", "OO": "SkyWest", "EV": "ExpressJet", "YV": "Mesa",
    "US": "US Airways", "VX": "Virgin America", "9E": "Endeavor", "MQ": "Envoy",
    "ORD": "Chicago O'Hare", "JFK": "Kennedy", "LGA": "LaGuardia", "EWR": "Newark", "LAX": "Los Angeles",
    "BOS": "Boston Logan", "ATL": "Atlanta Hartsfield", "DEN": "Denver", "MIA": "Miami", "DFW": "Dallas Fort Worth",
    "SEA": "Seattle", "PHX": "Phoenix Sky Harbor", "CLT": "Charlotte Douglas", "MSP": "Minneapolis",
    "BOMBARDIER INC": "Bombardier",
}  # fmt: skip
ORIGINS = ("JFK", "LGA", "EWR")

# Row identifier and number of an answer, by the declared query that gives it: columns of its rows.
COLUMNS: Mapping[str, tuple[str, str | None]] = {
    "fleet_events": ("uid", "mean_arrival_delay"),
    "aircraft_events": ("uid", None),
    "aircraft_maker": ("manufacturer_uid", None),
    "aircraft_lateness": ("carrier_uid", "flights"),
    "maker_carriers": ("uid", "aircraft"),
    "route_carriers": ("uid", "flights"),
    "airport_carriers": ("uid", "mean_arrival_delay"),
    "airport_events": ("uid", None),
    "carrier_events": ("uid", "events"),
    "event_aircraft": ("uid", "carriers"),
    "maker_events": ("uid", "events"),
}
_VIEWS = r"""
create temp table event as
  select NtsbNo as event, cast(EventDate[1:10] as date) as day, "N#" as tails, AirportID as airport
  from read_csv($file, header = true, all_varchar = true);
create temp table involved as
  select distinct event, day, year(day) as year, replace(trim(upper(tail)), ' ', '') as tailnum
  from (select event, day, unnest(string_split(tails, ',')) as tail from event);
create temp table at_airport as
  select distinct event, regexp_replace(replace(upper(trim(airport)), '/', ''), '^K([A-Z]{3})$', '\1') as airport
  from event;
create temp view flights as select * from marts.fct_flights;
create temp view aircraft as select * from marts.dim_aircraft;
create temp table dated as
  select i.*, a.year_built, a.manufacturer from involved i left join aircraft a using (tailnum)
  where (a.tailnum is not null or i.tailnum in (select tailnum from flights where tailnum is not null))
  and (a.year_built is null or a.year_built <= i.year)
"""
# Each gives (id without its kind, number or null), for parameters tail, maker, carrier, from, to, event, before.
_SQL: Mapping[str, tuple[str, str]] = {
    "fleet_events": ("Aircraft", """
        select tailnum, avg(arrival_delay) from flights
        where tailnum in (select tailnum from dated where day < cast($before as date))
        group by tailnum having count(*) filter (not is_cancelled) > 0"""),
    "aircraft_events": ("SafetyEvent", "select event, null from involved where tailnum = $tail"),
    "aircraft_maker": ("Manufacturer", "select manufacturer, null from aircraft where tailnum = $tail"),
    "aircraft_lateness": ("Carrier", """
        select carrier, count(*) filter (not is_cancelled) from flights where tailnum = $tail group by 1"""),
    "maker_carriers": ("Carrier", """
        select carrier, count(distinct tailnum) from flights join aircraft using (tailnum)
        where manufacturer = $maker group by 1"""),
    "route_carriers": ("Carrier", """
        select carrier, count(*) from flights where origin = $from and dest = $to group by 1"""),
    "airport_carriers": ("Carrier", "select carrier, avg(arrival_delay) from flights where origin = $from group by 1"),
    "airport_events": ("SafetyEvent", "select event, null from at_airport where airport = $to"),
    "carrier_events": ("Aircraft", """
        select tailnum, count(distinct event) from dated where day < cast($before as date)
        and tailnum in (select tailnum from flights where carrier = $carrier) group by 1"""),
    "event_aircraft": ("Aircraft", """
        select tailnum, count(distinct carrier) from involved left join flights using (tailnum)
        where event = $event and (carrier is not null or tailnum in (select tailnum from aircraft)) group by 1"""),
    "maker_events": ("Manufacturer", """
        select manufacturer, count(distinct event) from dated where manufacturer is not null group by 1"""),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A question; ``right`` has each row's uid and number, None where it is of no declared kind."""

    text: str
    kind: str
    declared: bool
    right: Mapping[str, float | None] | None


def questions(warehouse: Path, events: Path, declared: Mapping[str, Sequence[str]]) -> list[Asked]:
    """All of them, the same in every call.

    Args:
        declared: phrases of the declared queries, by name, whose holes are named as in their parameters.
    """
    import duckdb

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for statement in _VIEWS.split(";"):
            connection.execute(statement, {"file": str(events)} if "$file" in statement else None)
        drawn = random.Random(SEED)
        pools = _pools(connection)
        made: list[Asked] = []
        for kind, free in FREE.items():
            phrases = [(text, False) for text in free] + [(_renamed(kind, text), True) for text in declared[kind][:1]]
            for text, own in phrases:
                for _ in range(EACH if "{" in text else 1):
                    values, names = _drawn(kind, pools, drawn)
                    made.append(Asked(text.format(**names), kind, own, _right(connection, kind, text, values)))
        for text in OTHERS:
            _, names = _drawn("", pools, drawn)
            made.append(Asked(text.format(**names), "none", False, None))
    return made


_HOLES = {"aircraft": "tail", "manufacturer": "maker", "origin": "from", "destination": "to", "before": "year"}


def _renamed(kind: str, phrase: str) -> str:
    holes = {**_HOLES, "airport": "to" if kind == "airport_events" else "from"}
    for theirs, ours in holes.items():
        phrase = phrase.replace("{" + theirs + "}", "{" + ours + "}")
    return phrase


def _right(connection: duckdb.DuckDBPyConnection, kind: str, text: str, values: Mapping[str, str]) -> dict[str, Any]:
    thing, sql = _SQL[kind]
    # Without a year of its own a question is about all events up to the end of the flights' year.
    given = {**values, "before": f"{values['year']}-01-01" if "{year}" in text else "2014-01-01"}
    rows = connection.execute(sql, {k: v for k, v in given.items() if f"${k}" in sql}).fetchall()
    return {f"{thing}:{name}": None if number is None else float(number) for name, number in rows}


def _pools(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Any]]:
    def column(sql: str) -> list[Any]:
        return [row[0] if len(row) == 1 else row for row in connection.execute(sql).fetchall()]

    return {
        "tail": column("select distinct tailnum from flights join aircraft using (tailnum) order by 1"),
        "event_tail": column(
            "select distinct tailnum from involved where tailnum in (select tailnum from flights) order by 1"
        ),
        "maker": column(
            "select manufacturer from aircraft group by 1 having count(*) >= 9 order by count(*) desc, 1"
        ),
        "carrier": column("select carrier, carrier_name from marts.dim_carriers order by 1"),
        "route": column("select origin, dest from flights group by 1, 2 having count(*) >= 200 order by 1, 2"),
        "airport": column(
            "select airport, airport_name from marts.dim_airports where airport in (select airport from at_airport "
            "group by 1 having count(*) between 5 and 90) and airport in (select dest from flights) order by 1"
        ),
        "named": column("select airport, airport_name from marts.dim_airports order by 1"),
        "event": column(
            "select distinct event from involved where tailnum in (select tailnum from flights) order by 1"
        ),
    }  # fmt: skip


def _drawn(kind: str, pools: Mapping[str, list[Any]], drawn: random.Random) -> tuple[dict[str, str], dict[str, str]]:
    """Values of the holes, and the words by which a question names them: a code, the name, or a short name."""
    names = dict(pools["named"])

    def spoken(code: str, name: str) -> str:
        return drawn.choice([code, name, SHORT.get(code, name)])

    origin, dest = drawn.choice(pools["route"])
    carrier, company = drawn.choice(pools["carrier"])
    place = drawn.choice(pools["airport"])[0] if kind == "airport_events" else dest
    start = drawn.choice(ORIGINS) if kind == "airport_carriers" else origin
    maker = drawn.choice(pools["maker"])
    tail = drawn.choice(pools["event_tail" if kind == "aircraft_events" else "tail"])
    event = drawn.choice(pools["event"])
    year = str(drawn.choice(YEARS))
    values = {"tail": tail, "maker": maker, "carrier": carrier, "from": start, "to": place, "event": event,
              "year": year}  # fmt: skip
    return values, {
        **values,
        "maker": SHORT.get(maker, maker.title().replace("Mcd", "McD")),
        "carrier": spoken(carrier, company),
        "from": spoken(start, names[start]),
        "to": spoken(place, names[place]),
    }


def said(answer: Mapping[str, Any]) -> dict[str, float | None]:
    """What an answer says, as :attr:`Asked.right`: of the declared query that was taken, else of what it cites."""
    query = answer["query"]
    if query is None or query["query"] not in COLUMNS:
        return {_uid(cited["uid"].partition("#")[0]): None for cited in answer["citations"]}
    uid, number = COLUMNS[query["query"]]
    return {_uid(row[uid]): _number(row[number]) if number else None for row in query["rows"]}


def _uid(uid: str) -> str:
    """Without the source of a document, which the export's number does not have."""
    kind, _, name = uid.partition(":")
    return f"{kind}:{name.rpartition('/')[2]}"


def _number(value: Any) -> float | None:
    return float(len(value)) if isinstance(value, list) else None if value is None else float(value)


def agrees(right: Mapping[str, float | None], found: Mapping[str, float | None]) -> bool:
    """The same things with the same numbers, to a hundredth."""

    def same(a: float | None, b: float | None) -> bool:
        return a is b if a is None or b is None else abs(a - b) < 0.0101

    return right.keys() == found.keys() and all(same(number, found[uid]) for uid, number in right.items())
