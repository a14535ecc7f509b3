-- The domain's own list, then the destinations that only the reference knows (SJU, BQN, STT, PSE).
select
    airports.airport,
    airports.airport_name,
    reference.city,
    coalesce(reference.country, 'US') as country,
    airports.latitude,
    airports.longitude,
    airports.altitude,
    coalesce(airports.time_zone, reference.time_zone) as time_zone,
    'airports' as listed_in
from {{ ref('stg_airports') }} as airports
left join {{ ref('stg_airport_reference') }} as reference using (airport)

union all

select
    airport,
    airport_name,
    city,
    country,
    latitude,
    longitude,
    altitude,
    time_zone,
    'airport_reference' as listed_in
from {{ ref('stg_airport_reference') }}
where
    airport in (select dest from {{ ref('stg_flights') }})
    and airport not in (select airport from {{ ref('stg_airports') }})
