"""What a library knows of its readers."""

from __future__ import annotations

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

from serving.settings import get_settings

reader = Entity(name="reader", join_keys=["reader"], value_type=ValueType.STRING)
reader_daily = FeatureView(
    name="reader_daily",
    entities=[reader],
    ttl=timedelta(days=3),
    schema=[
        Field(name="reader", dtype=String),
        Field(name="late_share", dtype=Float64),
        Field(name="loans", dtype=Int64),
    ],
    source=FileSource(
        name="feat_reader_daily",
        path=str(get_settings().features / "offline" / "feat_reader_daily" / "*.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_at",
    ),
    online=True,
)
late_return_v1 = FeatureService(name="late_return_v1", features=[reader_daily])
