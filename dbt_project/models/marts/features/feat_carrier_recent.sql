{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['carrier', 'event_timestamp', 'created_at']
) }}

with facts as (
    select * from {{ ref('fct_flights') }}
    where {{ in_build_range('flight_date', days_before=3, days_after=29) }}
),

corrections as (
    select known_at from facts
    union all
    {{ removals(['flights'], days_before=3, days_after=29) }}
),

departures as (
    select
        carrier,
        {{ known_hour('actual_departure') }} as known_hour,
        count(*) as departures,
        sum(departure_delay) as departure_delay,
        max(known_at) as known_at
    from facts
    where actual_departure is not null
    group by all
),

arrivals as (
    select
        carrier,
        {{ known_hour('actual_arrival') }} as known_hour,
        count(*) as arrivals,
        count(*) filter (is_late) as late,
        sum(arrival_delay) as arrival_delay,
        max(known_at) as known_at
    from facts
    where actual_arrival is not null
    group by all
),

hours as (
    select unnest(range(
        (select min(known_hour) from departures),
        {{ local_midnight('(select max(flight_date) from facts) + 1') }} + interval 1 hour,
        interval 1 hour
    )) as hour
),

grid as (
    select
        carriers.carrier,
        hours.hour,
        departures.departures,
        departures.departure_delay,
        arrivals.arrivals,
        arrivals.late,
        arrivals.arrival_delay,
        greatest(departures.known_at, arrivals.known_at) as known_at
    from (select distinct carrier from facts) as carriers
    cross join hours
    left join departures on departures.carrier = carriers.carrier and departures.known_hour = hours.hour
    left join arrivals on arrivals.carrier = carriers.carrier and arrivals.known_hour = hours.hour
),

recent as (
    select
        carrier,
        hour,
        sum(arrival_delay) over last_4 / sum(arrivals) over last_4 as mean_arrival_delay_4h,
        sum(late) over last_4 / sum(arrivals) over last_4 as late_share_4h,
        coalesce(sum(arrivals) over last_4, 0)::bigint as arrivals_4h,
        sum(departure_delay) over last_2 / sum(departures) over last_2 as mean_departure_delay_2h,
        coalesce(sum(departures) over last_2, 0)::bigint as departures_2h,
        max(known_at) over last_4 as known_at,
        sum(departures) over last_24 as departures_24h
    from grid
    window
        last_2 as (partition by carrier order by hour rows between 1 preceding and current row),
        last_4 as (partition by carrier order by hour rows between 3 preceding and current row),
        last_24 as (partition by carrier order by hour rows between 23 preceding and current row)
),

computed as (
    select *, hour as event_timestamp, greatest(hour, known_at) as created_at
    from recent
    where
        departures_24h > 0
        and {{ in_build_range(local_date('hour'), days_after=29) }}
)

{{ new_versions('computed', ['carrier', 'event_timestamp'], 'created_at', [
    'mean_arrival_delay_4h', 'late_share_4h', 'arrivals_4h', 'mean_departure_delay_2h', 'departures_2h',
], within='event_timestamp') }}
