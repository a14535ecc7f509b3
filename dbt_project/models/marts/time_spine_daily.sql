-- Whole years around the data, so that a cumulative metric has a row for every day that it is asked for.
select unnest(range(
    date_trunc('year', (select min(flight_date) from {{ ref('fct_flights') }}))::timestamp,
    date_trunc('year', (select max(flight_date) from {{ ref('fct_flights') }}))::timestamp + interval 1 year,
    interval 1 day
))::date as date_day
