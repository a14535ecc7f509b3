with placed as (
    select
        flights.*,
        airports.time_zone,
        -- The printed arrival is a clock reading at the destination: start on its date there at departure.
        date_trunc('day', timezone(airports.time_zone, flights.scheduled_departure))
        + to_minutes(flights.scheduled_arrival_clock) as same_day_arrival
    from {{ ref('stg_flights') }} as flights
    left join {{ ref('int_airports') }} as airports on airports.airport = flights.dest
),

arriving as (
    select
        *,
        -- No flight lasts a day, so exactly one day gives an elapsed time above zero: this one or the next.
        case
            when timezone(time_zone, same_day_arrival) > scheduled_departure
                then timezone(time_zone, same_day_arrival)
            else timezone(time_zone, same_day_arrival + interval 1 day)
        end as scheduled_arrival
    from placed
),

flown as (
    select
        *,
        scheduled_departure + to_minutes(departure_delay::bigint) as actual_departure,
        scheduled_arrival + to_minutes(arrival_delay::bigint) as actual_arrival
    from arriving
)

select
    flight_id,
    period,
    flight_date,
    carrier,
    flight,
    tailnum,
    origin,
    dest,
    origin || '-' || dest as route,
    distance,
    scheduled_hour,
    weather_hour,
    scheduled_departure,
    scheduled_arrival,
    actual_departure,
    actual_arrival,
    (date_diff('minute', scheduled_departure, scheduled_arrival))::double as scheduled_elapsed,
    (date_diff('minute', actual_departure, actual_arrival))::double as actual_elapsed,
    air_time,
    date_diff('minute', actual_departure, actual_arrival) - air_time as taxi_time,
    departure_delay,
    arrival_delay,
    is_cancelled,
    not is_cancelled and arrival_delay is null as is_diverted,
    arrival_delay > 15 as is_late,
    -- A cancellation is known when the flight should have left, an arrival when it happens; a diversion has no outcome.
    case when is_cancelled then scheduled_departure else actual_arrival end as outcome_known_at,
    known_at
from flown
