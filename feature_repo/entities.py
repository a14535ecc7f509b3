"""What a feature describes, and the request field that finds it."""

from __future__ import annotations

from feast import Entity
from feast.value_type import ValueType

carrier = Entity(
    name="carrier",
    join_keys=["carrier"],
    value_type=ValueType.STRING,
    description="The airline that sells the flight, by its two-character code.",
)
route = Entity(
    name="route",
    join_keys=["route"],
    value_type=ValueType.STRING,
    description="Airport of departure and destination, such as JFK-LAX.",
)
origin = Entity(
    name="origin",
    join_keys=["origin"],
    value_type=ValueType.STRING,
    description="Airport of departure, by its IATA code.",
)
aircraft = Entity(
    name="aircraft",
    join_keys=["tailnum"],
    value_type=ValueType.STRING,
    description="The aircraft, by its tail number.",
)
