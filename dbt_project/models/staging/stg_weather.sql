select
    origin,
    time_hour as observed_hour,
    -- An hour's observation is at hand when the hour is over.
    time_hour + interval 1 hour as known_hour,
    temp as temperature,
    dewp as dew_point,
    humid as humidity,
    wind_dir as wind_direction,
    -- Repair: the contract lets no impossible gust in; what is still above a hurricane is an instrument, not wind.
    case when wind_speed <= 150 then wind_speed end as wind_speed,
    wind_gust,
    precip as precipitation,
    pressure,
    visib as visibility,
    make_date(year, month, day) as observed_date,
    _known_at as known_at
from {{ source('raw', 'weather') }}
