{{ config(materialized='table') }}
select unnest(generate_series(date '2020-12-01', date '2021-06-30', interval 1 day))::date as date_day
