select
    iata as airport,
    name as airport_name,
    city,
    country,
    lat as latitude,
    lon as longitude,
    round(elevation)::bigint as altitude,
    tz as time_zone
from {{ source('raw', 'airport_reference') }}
