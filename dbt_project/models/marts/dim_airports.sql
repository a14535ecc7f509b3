select * from {{ ref('int_airports') }}
