{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='period', on_schema_change='append_new_columns') }}
select
    loan,
    _period as period,
    lent_at::date as lent_on,
    loans.branch,
    branches.city,
    reader,
    genre,
    lent_at,
    due_at,
    returned_at,
    (returned_at > due_at)::integer as is_late,
    loans._known_at as known_at
from {{ source('raw', 'loans') }} as loans
inner join {{ source('raw', 'branches') }} as branches using (branch)
where _period >= '{{ var("from_date", "2000-01-01") }}' and _period < '{{ var("to_date", "2100-01-01") }}'
