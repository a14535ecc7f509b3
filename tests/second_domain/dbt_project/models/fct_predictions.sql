{{ config(materialized='table', tags=['predictions']) }}
with events as (
    select *, json_extract_string(request, '$.reader') as reader, json_extract_string(request, '$.branch') as branch,
        try_cast(json_extract_string(request, '$.lent_at') as timestamptz) as lent_at
    from {{ source('events', 'predictions') }}
    where caller is distinct from 'rollout-smoke'
    qualify row_number() over (partition by model, arm, request_id order by served_at, event_id) = 1
),

labels as (
    select * from {{ ref('examples_late_return') }}
    qualify row_number() over (partition by loan order by label_known_at desc) = 1
)

select
    events.request_id,
    events.model,
    events.version as model_version,
    events.arm,
    events.prediction_time::date as prediction_date,
    events.score,
    events.branch,
    labels.is_late,
    labels.label_known_at
from events
left join labels on labels.reader = events.reader and labels.lent_at = events.lent_at
