{{ config(materialized='table', tags=['feature']) }}
with days as (
    select unnest(generate_series(min(lent_on)::timestamp, max(lent_on) + interval 8 day, interval 1 day)) as day
    from {{ ref('fct_loans') }}
)

select
    reader,
    timezone('UTC', day) as event_timestamp,
    greatest(timezone('UTC', day), max(known_at)) as created_at,
    avg(is_late)::double as late_share,
    count(*)::bigint as loans
from days
inner join {{ ref('fct_loans') }} on returned_at < timezone('UTC', day) and returned_at >= timezone('UTC', day) - interval 90 day
group by reader, day
