{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['tailnum', 'event_timestamp', 'created_at']
) }}

with facts as (
    select * from {{ ref('fct_flights') }}
    where
        tailnum is not null
        and {{ in_build_range('flight_date', days_before=31, days_after=29) }}
),

corrections as (
    select known_at from facts
    union all
    {{ removals(['flights'], days_before=31, days_after=29) }}
),

movements as (
    select tailnum, actual_departure as happened_at, departure_delay, null::double as arrival_delay, known_at
    from facts
    where actual_departure is not null
    union all
    select tailnum, actual_arrival, null, arrival_delay, known_at
    from facts
    where actual_arrival is not null
),

-- Two movements of one aircraft at one instant happen in the record; the worse one is kept.
instants as (
    select
        tailnum,
        happened_at,
        max(departure_delay) as departure_delay,
        max(arrival_delay) as arrival_delay,
        max(known_at) as known_at
    from movements
    group by all
),

computed as (
    select
        tailnum,
        happened_at as event_timestamp,
        last_value(departure_delay ignore nulls) over last_week as last_departure_delay,
        last_value(arrival_delay ignore nulls) over last_week as last_arrival_delay,
        greatest(happened_at, max(known_at) over last_week) as created_at
    from instants
    window last_week as (
        partition by tailnum order by happened_at range between interval 7 days preceding and current row
    )
    qualify
        {{ in_build_range(local_date('happened_at'), days_after=29) }}
        -- Nothing past the local midnight that ends the newest day: until then it has not happened.
        and happened_at <= {{ local_midnight('(select max(flight_date) from facts) + 1') }}
)

{{ new_versions('computed', ['tailnum', 'event_timestamp'], 'created_at', [
    'last_departure_delay', 'last_arrival_delay',
], within='event_timestamp') }}
