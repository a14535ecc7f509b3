{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key=['loan', 'label_known_at']) }}
select
    loan,
    period,
    branch,
    reader,
    genre,
    lent_at,
    is_late,
    greatest(returned_at, known_at) as label_known_at
from {{ ref('fct_loans') }}
where period >= '{{ var("from_date", "2000-01-01") }}' and period < '{{ var("to_date", "2100-01-01") }}'
