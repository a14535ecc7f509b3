-- A label says nothing of costs: what a missed late flight and a false alarm cost is declared in dbt_project.yml.
with events as (
    select
        *,
        json_extract_string(request, '$.carrier') as carrier,
        try_cast(json_extract_string(request, '$.flight') as bigint) as flight,
        json_extract_string(request, '$.origin') as origin,
        json_extract_string(request, '$.dest') as dest,
        try_cast(json_extract_string(request, '$.scheduled_departure') as timestamptz) as scheduled_departure
    from {{ source('events', 'predictions') }}
    where caller is distinct from 'rollout-smoke'  -- a release tries a version before users get it
    -- A caller may send a request again under its id: what it was told first counts. A shadow's answer is its own.
    qualify row_number() over (partition by model, arm, request_id order by served_at, event_id) = 1
),

labels as (
    -- Of this model only: what another one predicts has its label in another mart.
    select *, 'arrival_delay' as model from {{ ref('examples_arrival_delay') }}
    qualify row_number() over (partition by flight_id order by label_known_at desc) = 1
),

judged as (
    select
        events.model || '|' || events.arm || '|' || events.request_id as prediction_id,
        events.request_id,
        events.model,
        events.version as model_version,
        events.arm,
        events.caller,
        events.served_at,
        events.served_at::date as served_on,
        events.prediction_time,
        {{ local_date('events.prediction_time') }} as prediction_date,
        events.score,
        events.label = 'late' as alarmed,
        events.input_skew,
        events.origin,
        events.carrier,
        labels.flight_id,
        labels.is_late = 1 as is_late,
        labels.label_known_at
    from events
    left join labels
        on labels.model = events.model
        and labels.carrier = events.carrier
        and labels.flight = events.flight
        and labels.origin = events.origin
        and labels.dest = events.dest
        and labels.scheduled_departure = events.scheduled_departure
)

select
    *,
    case
        when is_late is null or alarmed is null then null
        when is_late and not alarmed then {{ var('cost_missed_late') }}::double
        when alarmed and not is_late then {{ var('cost_false_alarm') }}::double
        else 0.0
    end as decision_cost,
    case when is_late is not null then -ln(greatest(case when is_late then score else 1 - score end, 1e-15)) end
        as log_loss,
    power(score - is_late::integer, 2) as squared_error,
    date_diff('second', prediction_time, label_known_at) / 86400.0 as label_delay_days
from judged
