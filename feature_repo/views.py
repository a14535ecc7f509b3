"""One feature view for each feature mart: the same columns, the same two times."""

from __future__ import annotations

from datetime import timedelta

from entities import aircraft, carrier, origin, route
from feast import Entity, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.types import Float64, Int64, PrimitiveFeastType, String

from serving.settings import get_settings

# A daily row is replaced at the next midnight, an hourly one at the next hour; the rest is slack for a late build,
# after which an old value must not pass for a new one.
DAY = timedelta(days=2)
HOUR = timedelta(hours=3)

TRAILING = {
    f"{measure}_{days}d": kind
    for days in (7, 28)
    for measure, kind in {
        "mean_departure_delay": Float64,
        "mean_arrival_delay": Float64,
        "late_share": Float64,
        "cancelled_share": Float64,
        "flights": Int64,
    }.items()
}


def mart_view(
    name: str, entity: Entity, features: dict[str, PrimitiveFeastType], ttl: timedelta, description: str
) -> FeatureView:
    """The feature view of the mart `feat_<name>`, read from the parquet files exported from it.

    Args:
        name: of the view, and of the mart without its prefix.
        entity: what a row describes; its join key is the mart's first column.
        features: columns and their types, as the mart's contract has them.
        ttl: how long after its event_timestamp a row may be served.
        description: for the registry's reader.
    """
    mart = f"feat_{name}"
    source = FileSource(
        name=mart,
        path=str(get_settings().features / "offline" / mart / "*.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_at",
    )
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=ttl,
        schema=[
            Field(name=entity.join_key, dtype=String),
            *(Field(name=feature, dtype=kind) for feature, kind in features.items()),
        ],
        source=source,
        online=True,
        description=description,
        owner="team:flight-data",
    )


carrier_daily = mart_view("carrier_daily", carrier, TRAILING, DAY, "A carrier's delays over 7 and 28 days.")
route_daily = mart_view("route_daily", route, TRAILING, DAY, "A route's delays over 7 and 28 days.")
origin_daily = mart_view("origin_daily", origin, TRAILING, DAY, "An origin's delays over 7 and 28 days.")
aircraft_daily = mart_view("aircraft_daily", aircraft, TRAILING, DAY, "An aircraft's delays over 7 and 28 days.")

origin_recent = mart_view(
    "origin_recent",
    origin,
    {
        "mean_departure_delay_2h": Float64,
        "delayed_share_2h": Float64,
        "departures_2h": Int64,
        "cancellations_today": Int64,
        "overdue_departures": Int64,
        "temperature": Float64,
        "humidity": Float64,
        "wind_speed": Float64,
        "wind_gust": Float64,
        "precipitation": Float64,
        "pressure": Float64,
        "visibility": Float64,
    },
    HOUR,
    "What is known at the hour about departures, cancellations and weather at an origin.",
)
carrier_recent = mart_view(
    "carrier_recent",
    carrier,
    {
        "mean_arrival_delay_4h": Float64,
        "late_share_4h": Float64,
        "arrivals_4h": Int64,
        "mean_departure_delay_2h": Float64,
        "departures_2h": Int64,
    },
    HOUR,
    "What is known at the hour about a carrier's arrivals and departures.",
)
aircraft_recent = mart_view(
    "aircraft_recent",
    aircraft,
    {"last_departure_delay": Float64, "last_arrival_delay": Float64},
    DAY,
    "The delays of an aircraft's last movements.",
)
