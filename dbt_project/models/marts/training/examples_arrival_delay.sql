{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['flight_id', 'label_known_at']
) }}

with facts as (
    select * from {{ ref('fct_flights') }}
    where {{ in_build_range('period') }}
),

corrections as (
    select known_at from facts
    union all
    {{ removals(['flights']) }}
),

computed as (
    select
        flight_id,
        greatest(actual_arrival, known_at) as label_known_at,
        period,
        scheduled_departure - interval 2 hour as prediction_time,
        carrier,
        flight,
        origin,
        dest,
        tailnum,
        scheduled_departure,
        scheduled_arrival,
        distance,
        route,
        is_late::integer as is_late
    from facts
    where arrival_delay is not null
)

{{ new_versions('computed', ['flight_id'], 'label_known_at', [
    'period', 'prediction_time', 'carrier', 'flight', 'origin', 'dest', 'tailnum', 'scheduled_departure',
    'scheduled_arrival', 'distance', 'route', 'is_late',
], within='period') }}
