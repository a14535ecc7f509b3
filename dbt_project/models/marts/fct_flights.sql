{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='period') }}

select * from {{ ref('int_flights') }}
where {{ in_build_range('period') }}
