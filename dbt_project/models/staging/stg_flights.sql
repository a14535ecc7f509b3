with source as (
    select
        *,
        -- Repair: the schedule is printed in local time (daylight saving included); stored instants are UTC.
        timezone('{{ var("local_time_zone") }}', make_timestamp(year, month, day, hour, minute, 0)) as scheduled_departure
    from {{ source('raw', 'flights') }}
)

select
    md5(concat_ws('|', year, month, day, carrier, flight, origin, sched_dep_time)) as flight_id,
    _period as period,
    make_date(year, month, day) as flight_date,
    carrier,
    flight,
    nullif(trim(tailnum), '') as tailnum,
    origin,
    dest,
    distance,
    hour as scheduled_hour,
    scheduled_departure,
    time_hour as weather_hour,
    -- Repair: 2400 means the midnight that ends the day.
    {{ clock_minutes('sched_arr_time') }} as scheduled_arrival_clock,
    dep_time is null as is_cancelled,
    dep_delay as departure_delay,
    arr_delay as arrival_delay,
    air_time,
    _known_at as known_at
from source
