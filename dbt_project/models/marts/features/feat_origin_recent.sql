{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['origin', 'event_timestamp', 'created_at']
) }}

with facts as (
    select * from {{ ref('fct_flights') }}
    where {{ in_build_range('flight_date', days_before=3, days_after=29) }}
),

weather as (
    select * from {{ ref('stg_weather') }}
    where {{ in_build_range('observed_date', days_before=3, days_after=29) }}
),

corrections as (
    select known_at from facts
    union all
    select known_at from weather
    union all
    {{ removals(['flights', 'weather'], days_before=3, days_after=29) }}
),

departures as (
    select
        origin,
        {{ known_hour('actual_departure') }} as known_hour,
        count(*) as departures,
        count(*) filter (departure_delay > 15) as delayed,
        sum(departure_delay) as departure_delay,
        max(known_at) as known_at
    from facts
    where actual_departure is not null
    group by all
),

cancellations as (
    select
        origin,
        {{ known_hour('scheduled_departure') }} as known_hour,
        count(*) as cancelled,
        max(known_at) as known_at
    from facts
    where
        is_cancelled
        -- What was due just before midnight is known at midnight, but is not today's.
        and flight_date = {{ local_date(known_hour('scheduled_departure')) }}
    group by all
),

due as (
    select
        origin,
        actual_departure,
        known_at,
        {{ known_hour('scheduled_departure') }} + to_hours(unnest([0, 1])) as known_hour
    from facts
    where actual_departure is not null
),

overdue as (
    select origin, known_hour, count(*) as overdue, max(known_at) as known_at
    from due
    where actual_departure > known_hour
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
        origins.origin,
        hours.hour,
        {{ local_date('hours.hour') }} as day,
        departures.departures,
        departures.delayed,
        departures.departure_delay,
        cancellations.cancelled,
        overdue.overdue,
        departures.known_at as departures_known_at,
        greatest(cancellations.known_at, overdue.known_at) as waiting_known_at
    from (select distinct origin from facts) as origins
    cross join hours
    left join departures on departures.origin = origins.origin and departures.known_hour = hours.hour
    left join cancellations on cancellations.origin = origins.origin and cancellations.known_hour = hours.hour
    left join overdue on overdue.origin = origins.origin and overdue.known_hour = hours.hour
),

recent as (
    select
        origin,
        hour,
        day,
        sum(departure_delay) over last_2 / sum(departures) over last_2 as mean_departure_delay_2h,
        sum(delayed) over last_2 / sum(departures) over last_2 as delayed_share_2h,
        coalesce(sum(departures) over last_2, 0)::bigint as departures_2h,
        coalesce(sum(cancelled) over today, 0)::bigint as cancellations_today,
        coalesce(overdue, 0)::bigint as overdue_departures,
        greatest(max(departures_known_at) over last_2, max(waiting_known_at) over today) as known_at,
        sum(departures) over last_24 as departures_24h
    from grid
    window
        last_2 as (partition by origin order by hour rows between 1 preceding and current row),
        last_24 as (partition by origin order by hour rows between 23 preceding and current row),
        today as (partition by origin, day order by hour)
),

computed as (
    select
        recent.origin,
        recent.hour as event_timestamp,
        greatest(recent.hour, recent.known_at, weather.known_at) as created_at,
        recent.mean_departure_delay_2h,
        recent.delayed_share_2h,
        recent.departures_2h,
        recent.cancellations_today,
        recent.overdue_departures,
        weather.temperature,
        weather.humidity,
        weather.wind_speed,
        weather.wind_gust,
        weather.precipitation,
        weather.pressure,
        weather.visibility
    from recent
    asof left join weather on recent.origin = weather.origin and recent.hour >= weather.known_hour
    where
        recent.departures_24h > 0
        and {{ in_build_range('recent.day', days_after=29) }}
)

{{ new_versions('computed', ['origin', 'event_timestamp'], 'created_at', [
    'mean_departure_delay_2h', 'delayed_share_2h', 'departures_2h', 'cancellations_today', 'overdue_departures',
    'temperature', 'humidity', 'wind_speed', 'wind_gust', 'precipitation', 'pressure', 'visibility',
], within='event_timestamp') }}
