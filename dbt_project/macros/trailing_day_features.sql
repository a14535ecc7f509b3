{#- Delays of the last 7 and 28 local days for every value of `key`, one row a day.

    A row holds from local midnight and is computed from the outcomes known before it: an outcome belongs to the day
    on which it became known, so a flight that lands after midnight counts from the next day on. A value of `key` with
    no outcome in 28 days has no row. -#}
{% macro trailing_day_features(key) -%}
{%- set measures = ['mean_departure_delay', 'mean_arrival_delay', 'late_share', 'cancelled_share', 'flights'] -%}
{%- set values = [] -%}
{%- for days in [7, 28] -%}
{%- for measure in measures -%}{%- do values.append(measure ~ '_' ~ days ~ 'd') -%}{%- endfor -%}
{%- endfor -%}
with facts as (
    select *, {{ local_date('outcome_known_at') }} as known_on
    from {{ ref('fct_flights') }}
    where {{ in_build_range('flight_date', days_before=31, days_after=29) }}
),

corrections as (
    select known_at from facts
    union all
    {{ removals(['flights'], days_before=31, days_after=29) }}
),

daily as (
    select
        {{ key }},
        known_on,
        count(*) as flights,
        count(arrival_delay) as arrived,
        count(*) filter (is_cancelled) as cancelled,
        count(*) filter (is_late) as late,
        sum(departure_delay) filter (arrival_delay is not null) as departure_delay,
        sum(arrival_delay) as arrival_delay,
        max(known_at) as known_at
    from facts
    where outcome_known_at is not null and {{ key }} is not null
    group by all
),

days as (
    select unnest(range(
        (select min(known_on) from daily)::timestamp,
        (select max(flight_date) from facts)::timestamp + interval 2 day,
        interval 1 day
    ))::date as day
),

grid as (
    select keys.{{ key }}, days.day, daily.* exclude ({{ key }}, known_on)
    from (select distinct {{ key }} from daily) as keys
    cross join days
    left join daily on daily.{{ key }} = keys.{{ key }} and daily.known_on = days.day
),

windowed as (
    select
        {{ key }},
        day,
        {{ local_midnight('day') }} as event_timestamp,
        max(known_at) over last_28 as known_at,
        {%- for days in [7, 28] %}
        sum(departure_delay) over last_{{ days }} / nullif(sum(arrived) over last_{{ days }}, 0) as mean_departure_delay_{{ days }}d,
        sum(arrival_delay) over last_{{ days }} / nullif(sum(arrived) over last_{{ days }}, 0) as mean_arrival_delay_{{ days }}d,
        sum(late) over last_{{ days }} / nullif(sum(arrived) over last_{{ days }}, 0) as late_share_{{ days }}d,
        sum(cancelled) over last_{{ days }} / nullif(sum(flights) over last_{{ days }}, 0) as cancelled_share_{{ days }}d,
        coalesce(sum(flights) over last_{{ days }}, 0)::bigint as flights_{{ days }}d{{ "," if not loop.last }}
        {%- endfor %}
    from grid
    window
        last_7 as (partition by {{ key }} order by day rows between 7 preceding and 1 preceding),
        last_28 as (partition by {{ key }} order by day rows between 28 preceding and 1 preceding)
),

computed as (
    select *, greatest(event_timestamp, known_at) as created_at
    from windowed
    where flights_28d > 0 and {{ in_build_range('day', days_after=29) }}
)

{{ new_versions('computed', [key, 'event_timestamp'], 'created_at', values, within='event_timestamp') }}
{%- endmacro %}
