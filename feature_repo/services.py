"""One feature service for each revision of a model's feature list."""

from __future__ import annotations

from feast import FeatureService
from views import (
    aircraft_daily,
    aircraft_recent,
    carrier_daily,
    carrier_recent,
    origin_daily,
    origin_recent,
    route_daily,
)

arrival_delay_v1 = FeatureService(
    name="arrival_delay_v1",
    features=[carrier_daily, route_daily, origin_daily, aircraft_daily],
    description="Trailing delays of carrier, route, origin and aircraft, through the previous day.",
    owner="team:flight-data",
)

arrival_delay_v2 = FeatureService(
    name="arrival_delay_v2",
    features=[
        carrier_daily,
        route_daily,
        origin_daily,
        aircraft_daily,
        origin_recent,
        carrier_recent,
        aircraft_recent,
    ],
    description="The first revision, with the delays and the weather known when the prediction is asked for.",
    owner="team:flight-data",
)
