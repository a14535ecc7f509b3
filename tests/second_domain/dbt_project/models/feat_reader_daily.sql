{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key=['reader', 'event_timestamp', 'created_at'], tags=['feature']) }}
with days as (
    select unnest(generate_series(min(lent_on)::timestamp, max(lent_on) + interval 8 day, interval 1 day)) as day
    from {{ ref('fct_loans') }}
),

computed as (
    select
        reader,
        timezone('UTC', day) as event_timestamp,
        greatest(timezone('UTC', day), max(known_at)) as created_at,
        avg(is_late)::double as late_share,
        count(*)::bigint as loans
    from days
    inner join {{ ref('fct_loans') }} on returned_at < timezone('UTC', day) and returned_at >= timezone('UTC', day) - interval 90 day
    group by reader, day
)

{% if is_incremental() %}
, corrections as (
    select known_at from {{ ref('fct_loans') }}
    union all
    select known_at from {{ source('clearway', 'removals') }} where source = 'loans'
)

-- A correction adds a version beside the one that was known before it; a loan that left the window leaves no later
-- instant, so the change counts from the newest correction on.
select
    computed.reader,
    computed.event_timestamp,
    case
        when newest.created_at is null or computed.created_at > newest.created_at then computed.created_at
        else greatest(newest.created_at, (select max(known_at) from corrections))
    end as created_at,
    computed.late_share,
    computed.loans
from computed
left join (
    select * from {{ this }}
    qualify row_number() over (partition by reader, event_timestamp order by created_at desc) = 1
) as newest using (reader, event_timestamp)
where newest.created_at is null or newest.late_share is distinct from computed.late_share or newest.loans is distinct from computed.loans
{% else %}
select * from computed
{% endif %}
